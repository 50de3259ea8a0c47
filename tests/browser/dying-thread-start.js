// In the place of the package's worker-threads.js.
import '/tests/browser/dying-thread.js?at=start';
import '/web/bitmar/dist/worker-threads.js?real';
