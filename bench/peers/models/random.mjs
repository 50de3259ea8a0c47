// Weights that are the same on every run. No runtime here is faster for their values: none skips zeros.
let state = 1;

/** 0 <= x < 1, by Lehmer's generator. */
export const random = () => (state = (state * 48271) % 2147483647) / 2147483647;

export const reseed = (seed = 1) => void (state = seed);
export const whole = (limit) => Math.floor(random() * limit);
export const floats = (n, deviation) => Float32Array.from({ length: n }, () => (random() * 2 - 1) * Math.sqrt(3) * deviation);
export const ones = (n) => new Float32Array(n).fill(1);
export const bytes = (n) => Uint8Array.from({ length: n }, () => whole(256));
export const trits = (n) => Int8Array.from({ length: n }, () => whole(3) - 1);
