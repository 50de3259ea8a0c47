import * as package_ from '/web/bitmar/dist/service-worker.js';
import { outcome } from './realm-worker.js';

self.addEventListener('message', ({ source }) => outcome(package_).then((result) => source.postMessage(result)));
