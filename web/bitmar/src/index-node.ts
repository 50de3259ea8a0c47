// The package in node.

import { nodePlatform } from './platform/node.js';
import { usePlatform } from './platform/platform.js';

usePlatform(nodePlatform);

export * from './public.js';
