/** What few callers need, and then imported. Service workers must not: they put here what they have imported before (service-worker.ts). */
export const ON_DEMAND = {
  hostHere: () => import('./host-here.js'),
};
