import * as package_ from '/web/bitmar/dist/service-worker.js';
import model from '/web/bitmar-model/index.js';
import { outcome } from './realm-worker.js';

self.addEventListener('message', ({ source }) => outcome(package_, model).then((result) => source.postMessage(result)));
