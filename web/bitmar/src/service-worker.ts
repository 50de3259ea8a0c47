// The package for service workers, which must not import() anything: the build makes one file of it, with everything in it.

export * from './index.js';
