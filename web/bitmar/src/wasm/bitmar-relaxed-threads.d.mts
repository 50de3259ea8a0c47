export { default } from './bitmar-simd.mjs';
