declare module 'fs-native-extensions' {
  const library: {
    /** Whether the lock on the whole file was granted. It belongs to the open file and goes with it. */
    tryLock(fd: number): boolean;
  };
  export default library;
}
