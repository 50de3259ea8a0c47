// The package in a browser.

import { browserPlatform } from './platform/browser.js';
import { usePlatform } from './platform/platform.js';

usePlatform(browserPlatform);

export * from './public.js';
