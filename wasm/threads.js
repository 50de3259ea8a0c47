// Before Emscripten's script: the workers of the threads run what their maker, itself a worker, was started from
// (web/bitmar/src/worker.ts), so that a bundler has all that once, under whatever name it gave it.
_scriptName = self.location.href;
