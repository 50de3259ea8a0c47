// The box under the picture, with models that answer questions and one that does not. They are the tiny one, changed: what it says
// is nonsense, but the same nonsense here and in node.
import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { BitMar } from 'bitmar';
import { tinyFiles } from '../node/helpers.mjs';
import { complaints, film, launch, path, samplePhotos, serve, shownPixels, webcam } from './helpers.mjs';

const QUESTIONS = ['what is it?', 'is it a dog?', 'a man', 'two dogs', 'is it red?', 'a girl on the sand?', 'on the grass?', 'in snow?', 'a ball'];

/** The page as built, served with another model, and that model under node. */
async function pageWith(change = () => {}, sharpen) {
  const files = await tinyFiles((config) => {
    config.decoder.window_size = 1020; // room for the page's beams
    change(config);
  });
  sharpen?.(files.weights);
  const root = await mkdtemp(join(tmpdir(), 'bitmar-page-'));
  await cp(path('web/demo/dist'), root, { recursive: true });
  const names = { config: 'config.json', tokenizer: 'tokenizer.json', preprocessor: 'preprocessor_config.json', weights: 'model.safetensors' };
  const [folder] = await readdir(join(root, 'model')); // named by a hash
  for (const [part, name] of Object.entries(names)) await writeFile(join(root, 'model', folder, name), files[part]);
  const server = await serve({ root });
  const model = await BitMar.load(files);
  return {
    url: server.url,
    model,
    async close() {
      model.dispose();
      await server.close();
      await rm(root, { recursive: true });
    },
  };
}

/** Makes a model sure of what it says, by louder logits. */
function louder(weights) {
  const begin = 8 + Number(weights.readBigUInt64LE());
  const [from, to] = JSON.parse(weights.subarray(8, begin))['embedding.weight_scale'].data_offsets;
  for (let at = begin + from; at < begin + to; at += 4) weights.writeFloatLE(6 * weights.readFloatLE(at), at);
}

async function open(browser, url, viewport) {
  const page = await browser.page();
  if (viewport) await page.setViewportSize(viewport);
  const wrong = complaints(page, new URL(url).origin);
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector('#vision-ms').textContent !== '–', undefined, { timeout: 60_000 }); // a caption, if an empty one
  return { page, wrong };
}

const captioned = (page, before) => page.waitForFunction((old) => document.querySelector('#announce').textContent !== old, before, { timeout: 60_000 });
const shown = (page) => page.textContent('#answer');
const answered = (page) => page.waitForFunction(() => document.querySelector('#answer').textContent, undefined, { timeout: 60_000 });
/** All calls before are answered. */
const idle = (page) => page.waitForFunction(() => !document.querySelector('#answer').classList.contains('waiting'), undefined, { timeout: 60_000 });

/** The answers of the model under node about the photo on the stage, those that differ. */
async function expected(page, model) {
  const { base64, width, height } = await shownPixels(page);
  const answers = new Map();
  for (const question of QUESTIONS) {
    const answer = await model.ask({ data: Buffer.from(base64, 'base64'), width, height }, question);
    if (answer.answer && ![...answers.values()].some((other) => other.answer === answer.answer)) answers.set(question, answer);
  }
  return [...answers];
}

const sure = ({ confidence }) => `${Math.round(100 * confidence)} % sure`;

describe('the box under the picture', () => {
  let browser, site;
  before(async () => {
    browser = await launch();
    site = await pageWith();
  });
  after(async () => {
    await site.close();
    await browser.close();
  });

  test('answers what node answers, and says how sure it is', async () => {
    const { page, wrong } = await open(browser, site.url);
    const [[question, answer]] = await expected(page, site.model);
    await page.fill('#question', `  ${question.toUpperCase()}`);
    await page.press('#question', 'Enter');
    await answered(page);
    assert.ok(answer.confidence < 0.4);
    assert.equal(await shown(page), `Perhaps ${answer.answer} ${sure(answer)}`);
    assert.deepEqual(wrong, []);
    await page.close();
  });

  test('does not hedge a likely answer', async () => {
    const loud = await pageWith(undefined, louder);
    const { page } = await open(browser, loud.url);
    const [[question, answer]] = await expected(page, loud.model);
    await page.fill('#question', question);
    await page.click('#ask-send');
    await answered(page);
    assert.ok(answer.confidence > 0.4, `${answer.confidence}`);
    assert.equal(await shown(page), `${answer.answer} ${sure(answer)}`);
    await page.close();
    await loud.close();
  });

  test('says in plain words that it does not answer', async () => {
    const { page } = await open(browser, site.url);
    const [[question, { tokens }]] = await expected(page, site.model);
    await page.close();
    const silent = await pageWith((config) => (config.eos_token_id = tokens[0]));
    const mute = await open(browser, silent.url);
    await mute.page.fill('#question', question);
    await mute.page.click('#ask-send');
    await answered(mute.page);
    assert.match(await shown(mute.page), /^No answer\. It does not say who somebody is/);
    assert.equal(await mute.page.isHidden('#notice'), true);
    await mute.page.close();
    await silent.close();
  });

  test('is not there with a model that answers no questions', async () => {
    const mute = await pageWith((config) => delete config.ask);
    const { page, wrong } = await open(browser, mute.url);
    assert.equal(await page.isVisible('#ask'), false);
    assert.equal(await page.isDisabled('#question'), true);
    assert.deepEqual(wrong, []);
    await page.close();
    await mute.close();
  });

  test('asks an example when it is clicked', async () => {
    const { page } = await open(browser, site.url);
    const example = page.locator('.examples button').nth(1);
    await example.click();
    await answered(page);
    assert.equal(await page.inputValue('#question'), await example.textContent());
    await page.close();
  });

  test('no question, and one that is too long', async () => {
    const { page } = await open(browser, site.url);
    await page.click('#ask-send');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'question');
    assert.equal(await shown(page), '');
    await page.fill('#question', 'word '.repeat(30));
    await page.press('#question', 'Enter');
    await answered(page);
    assert.match(await shown(page), /too long/);
    assert.equal(await page.isHidden('#notice'), true);
    await page.close();
  });

  test('forgets what was about another picture: an answer, and one that is on its way', async () => {
    const { page } = await open(browser, site.url);
    const [[question]] = await expected(page, site.model);
    await page.fill('#question', question);
    await page.press('#question', 'Enter');
    await answered(page);
    let before = await page.textContent('#announce');
    await page.locator('.samples button').nth(1).click();
    await captioned(page, before);
    assert.equal(await shown(page), '');

    await page.evaluate(() => {
      globalThis.seen = [];
      new MutationObserver(() => seen.push(document.querySelector('#answer').textContent)).observe(document.querySelector('#answer'), { childList: true });
    });
    before = await page.textContent('#announce');
    await page.evaluate(() => {
      document.querySelector('#ask').requestSubmit();
      document.querySelectorAll('.samples button')[2].click();
    });
    await captioned(page, before); // which was asked for later
    await idle(page);
    assert.deepEqual((await page.evaluate(() => seen)).filter(Boolean), []);
    await page.close();
  });

  test('drops a question for the next one', async () => {
    const { page } = await open(browser, site.url);
    const [[first], [second, answer]] = await expected(page, site.model);
    await page.evaluate(([first, second]) => {
      globalThis.seen = [];
      new MutationObserver(() => seen.push(document.querySelector('#answer').textContent)).observe(document.querySelector('#answer'), { childList: true });
      for (const question of [first, second]) {
        document.querySelector('#question').value = question;
        document.querySelector('#ask').requestSubmit();
      }
    }, [first, second]);
    await answered(page);
    assert.equal(await shown(page), `Perhaps ${answer.answer} ${sure(answer)}`);
    assert.equal((await page.evaluate(() => seen)).filter(Boolean).length, 1);
    await page.close();
  });

  test('has names, a live answer, room on a phone, and is reached by keyboard', async () => {
    const { page } = await open(browser, site.url, { width: 390, height: 844 });
    assert.equal(await page.evaluate(() => document.querySelector('#question').labels[0].textContent), 'Ask about it');
    assert.equal(await page.getAttribute('#answer', 'aria-live'), 'polite');
    await page.locator('.examples button').nth(0).click();
    await answered(page);
    for (const width of [390, 320]) {
      await page.setViewportSize({ width, height: 844 });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    }
    for (const control of await page.locator('.ask button:visible, .ask input:visible').all()) {
      const box = await control.boundingBox();
      assert.ok(box.height >= 44 && box.width >= 44, JSON.stringify(box));
    }
    await page.evaluate(() => document.activeElement.blur());
    await page.locator('#question').focus();
    const reached = [];
    for (let i = 0; i < 6; i += 1) {
      reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.closest('ul')?.id));
      await page.keyboard.press('Tab');
    }
    assert.deepEqual(reached, ['question', 'ask-send', ...Array(4).fill('examples')]);
    await page.close();
  });
});

test('a live picture is asked about too, until the camera stops', async () => {
  const site = await pageWith();
  let browser = await launch();
  const file = await film((await open(browser, site.url)).page, (await samplePhotos()).slice(0, 2), 1.5);
  await browser.close();
  browser = await launch(...webcam(file));
  const { page, wrong } = await open(browser, site.url);
  await page.click('#camera');
  await page.waitForFunction(() => document.body.classList.contains('is-live') && document.querySelector('#caption').textContent, undefined, { timeout: 60_000 });
  await page.fill('#question', 'is it a dog?');
  await page.press('#question', 'Enter');
  await answered(page);
  assert.equal(await page.isVisible('#live'), true);
  await page.waitForTimeout(1500); // more frames
  assert.notEqual(await shown(page), '');
  await page.click('#camera');
  await page.waitForFunction(() => !document.querySelector('#answer').textContent);
  assert.deepEqual(wrong, []);
  await browser.close();
  await site.close();
});
