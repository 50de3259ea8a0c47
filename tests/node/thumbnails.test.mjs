import assert from 'node:assert/strict';
import { test } from 'node:test';

import { path } from './helpers.mjs';

const { ThumbnailBudget } = await import(path('web/bitmar/dist/store/thumbnails.js'));

test('thumbnails: the oldest make room', () => {
  const budget = new ThumbnailBudget(100);
  assert.deepEqual(budget.add(5, 40), []);
  assert.deepEqual(budget.add(3, 40), []);
  assert.deepEqual(budget.add(5, 60), []);
  assert.equal(budget.bytes, 100);
  assert.deepEqual(budget.add(9, 1), [3]);
  assert.deepEqual(budget.add(10, 100), [5, 9]);
  assert.deepEqual(budget.add(11, 101), [11]);
  assert.equal(budget.bytes, 100);
  budget.remove(10);
  budget.add(12, 30);
  budget.remove(12);
  budget.remove(12);
  assert.equal(budget.bytes, 0);
  assert.deepEqual(budget.reset(new Map([[2, 60], [1, 60], [7, 30]])), [1]);
  assert.deepEqual([...budget.ids()], [2, 7]);
  assert.ok(budget.has(2) && !budget.has(1));
});
