import './dying-thread.js';
import '../../web/bitmar/dist/worker-threads.js';
