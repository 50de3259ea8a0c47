// In a worker of the engine's second thread, which is lost: at its start, or with the first piece of work that it takes.
if (self.name === 'em-pthread' && import.meta.url.endsWith('?at=start')) {
  for (;;);
} else if (self.name === 'em-pthread') {
  // (func (param i32 i32 i32) (loop (br 0))), the type of a piece's function.
  const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 3, 127, 127, 127, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11];
  const { Instance } = WebAssembly;
  const { f: endless } = new Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports;
  WebAssembly.Instance = function (module, imports) {
    const instance = new Instance(module, imports);
    const table = Object.values(instance.exports).find((each) => each instanceof WebAssembly.Table);
    for (let i = 0; i < table.length; i += 1) if (table.get(i)?.length === 3) table.set(i, endless);
    return instance;
  };
}
