// The camera: whatever is clicked while it starts, it is never on without its picture. Chromium's fake cameras, real tracks.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { picture, png } from '../node/helpers.mjs';
import { complaints, launch, path, serve } from './helpers.mjs';

let server, browser;
before(async () => {
  server = await serve({ root: path('web/demo/dist') });
  browser = await launch('--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream=device-count=2', '--auto-accept-this-tab-capture');
});
after(async () => {
  await browser.close();
  await server.close();
});

/** Knows every track that the page was given, and can let the browser, or the visitor, take time to give one. Watches all along. */
function watchTracks() {
  Object.assign(globalThis, { tracks: [], asked: [], holding: false, wrong: [] });
  for (const name of ['getUserMedia', 'getDisplayMedia']) {
    const real = navigator.mediaDevices[name].bind(navigator.mediaDevices);
    navigator.mediaDevices[name] = async (constraints) => {
      if (holding) await new Promise((resolve) => asked.push(resolve));
      const stream = await real(constraints);
      tracks.push(...stream.getTracks());
      return stream;
    };
  }
  globalThis.release = () => {
    globalThis.holding = false;
    for (const resolve of asked.splice(0)) resolve();
  };
  globalThis.on = () => tracks.filter(({ readyState }) => readyState === 'live');
  globalThis.shows = () => {
    const video = document.querySelector('#video');
    return !video.hidden && !video.paused && video.videoWidth > 0 && video.srcObject?.getTracks().includes(on()[0]);
  };
  globalThis.tag = () => document.querySelector('#live:not([hidden])')?.dataset.state;
  setInterval(() => {
    const said = tag();
    if (on().length > 1) wrong.push(`${on().length} tracks`);
    if (on().length && !said) wrong.push('a track that nothing says is on');
    if (said === 'live' && !on().length) wrong.push('live, and no track');
    if (said === 'live' && document.querySelector('#video').hidden) wrong.push('live, and no picture');
  }, 5);
}

async function open() {
  const page = await browser.page();
  const heard = complaints(page, new URL(server.url).origin);
  await page.addInitScript(watchTracks);
  await page.goto(server.url);
  await page.waitForFunction(() => document.querySelector('#announce').textContent, undefined, { timeout: 20_000 });
  return { page, heard };
}

const clicks = (page, ...ids) => page.evaluate((ids) => ids.forEach((id) => document.querySelector(id).click()), ids);
const hold = (page) => page.evaluate(() => (globalThis.holding = true));
/** Everything that was asked for has come, and what became of it is there to be seen. */
async function settle(page) {
  await page.evaluate(() => release());
  await page.waitForFunction(() => !asked.length && tag() !== 'starting', undefined, { timeout: 20_000 });
  await page.waitForTimeout(400);
}

async function isLive(page) {
  await page.waitForFunction(() => tag() === 'live' && on().length === 1 && shows(), undefined, { timeout: 20_000 });
  assert.equal(await page.textContent('#camera-label'), 'Stop camera');
  assert.equal(await page.getAttribute('#camera', 'aria-pressed'), 'true');
}

async function isOff(page) {
  assert.deepEqual(await page.evaluate(() => [on().length, tag() ?? 'off', document.querySelector('#video').hidden, document.querySelector('#video').srcObject]), [0, 'off', true, null]);
  assert.equal(await page.textContent('#camera-label'), 'Start camera');
  assert.equal(await page.getAttribute('#camera', 'aria-pressed'), 'false');
}

/** And nothing was wrong at any time. */
async function close({ page, heard }) {
  assert.deepEqual(await page.evaluate(() => wrong), []);
  assert.deepEqual(heard, []);
  await page.close();
}

async function openLive() {
  const opened = await open();
  await clicks(opened.page, '#camera');
  await isLive(opened.page);
  await opened.page.waitForFunction(() => !document.querySelector('#flip').hidden);
  return opened;
}

const PHOTO = { name: 'photo.png', mimeType: 'image/png', buffer: png(picture(90, 60, 2)) };
const captioned = (page) => page.waitForFunction(() => document.querySelector('#caption:not(.stale)')?.textContent && document.querySelector('#announce').textContent, undefined, { timeout: 20_000 });

describe('clicks while it starts', () => {
  for (const [how, waits] of [['and the camera comes at once', false], ['and the visitor is asked', true]]) {
    test(`two quick clicks are none, three are one, ${how}`, async () => {
      const opened = await open();
      const { page } = opened;
      for (const [number, expected] of [[2, isOff], [3, isLive], [1, isOff], [4, isOff], [5, isLive]]) {
        if (waits) await hold(page);
        await clicks(page, ...Array(number).fill('#camera'));
        await settle(page);
        await expected(page);
      }
      await close(opened);
    });

    test(`stopped while another one is started, ${how}`, async () => {
      const opened = await openLive();
      const { page } = opened;
      if (waits) await hold(page);
      await clicks(page, '#flip', '#camera');
      await settle(page);
      await isOff(page);
      await captioned(page);
      await close(opened);
    });

    test(`flipped twice, ${how}`, async () => {
      const opened = await openLive();
      const { page } = opened;
      const device = () => page.evaluate(() => on()[0].getSettings().deviceId);
      const first = await device();
      if (waits) await hold(page);
      await clicks(page, '#flip', '#flip');
      await settle(page);
      await isLive(page);
      assert.notEqual(await device(), first);
      await clicks(page, '#flip');
      await settle(page);
      await isLive(page);
      assert.equal(await device(), first);
      await close(opened);
    });
  }

  test('a double click starts it, and a click later cancels that', async () => {
    const opened = await open();
    const { page } = opened;
    await hold(page);
    await page.dblclick('#camera');
    assert.equal(await page.textContent('#live-text'), 'Starting…');
    await page.waitForTimeout(700); // no third of the same clicks
    await page.click('#camera');
    await settle(page);
    await isOff(page);
    await hold(page);
    await page.waitForTimeout(700);
    await page.dblclick('#camera');
    await settle(page);
    await isLive(page);
    await close(opened);
  });

  test('a photo, or a sample, chosen while the visitor is asked', async () => {
    const opened = await open();
    const { page } = opened;
    for (const choose of [() => page.setInputFiles('#file', PHOTO), () => clicks(page, '.samples li:nth-child(2) button')]) {
      await hold(page);
      await clicks(page, '#camera');
      assert.equal(await page.textContent('#live-text'), 'Starting…');
      assert.equal(await page.textContent('#camera-label'), 'Cancel');
      await choose();
      await settle(page);
      await isOff(page);
      await captioned(page);
    }
    assert.equal(await page.getAttribute('.samples li:nth-child(2) button', 'aria-pressed'), 'true');
    await close(opened);
  });

  test('a storm of clicks, with cameras that come sooner or later', async (t) => {
    const opened = await open();
    const { page } = opened;
    let seed = Number(process.env.BITMAR_SEED ?? Date.now() % 1e6);
    t.diagnostic(`BITMAR_SEED=${seed}`);
    const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
    const things = ['#camera', '#camera', '#camera', '#flip', '#flip', '#freeze', '#resume', '#snapshot', '#remember', '#mirror', '.samples li:nth-child(3) button', 'hold', 'release', 'wait', 'wait'];
    for (let i = 0; i < 120; i += 1) {
      const thing = things[random(things.length)];
      if (thing === 'hold') await hold(page);
      else if (thing === 'release') await page.evaluate(() => release());
      else if (thing === 'wait') await page.waitForTimeout(random(300));
      else await clicks(page, thing);
    }
    await settle(page);
    if (await page.evaluate(() => on().length)) {
      await isLive(page);
      await clicks(page, '#camera');
      await settle(page);
    }
    await isOff(page);
    await close(opened);
  });
});

describe('while it is on', () => {
  test('captions come, and their rate', async () => {
    const opened = await openLive();
    const { page } = opened;
    await page.waitForFunction(() => /^\d\.\d$/.test(document.querySelector('#rate').textContent), undefined, { timeout: 20_000 });
    assert.equal(await page.isVisible('#rate-cell'), true);
    await clicks(page, '#camera');
    assert.equal(await page.isVisible('#rate-cell'), false);
    await close(opened);
  });

  test('muted: says so, and neither captions nor keeps what is not there; then goes on', async () => {
    const opened = await openLive();
    const { page } = opened;
    const set = (muted) => page.evaluate((muted) => {
      const [track] = on();
      Object.defineProperty(track, 'muted', { value: muted, configurable: true });
      track.dispatchEvent(new Event(muted ? 'mute' : 'unmute'));
    }, muted);
    await captioned(page);
    await set(true);
    assert.equal(await page.textContent('#live-text'), 'No picture arrives');
    await page.waitForTimeout(1500); // two captions would have come
    assert.equal(await page.textContent('#caption'), '');
    for (const id of ['#freeze', '#snapshot', '#rate-cell']) assert.equal(await page.isVisible(id), false, id);
    await set(false);
    await isLive(page);
    await captioned(page);
    await set(true);
    await clicks(page, '#camera');
    await isOff(page);
    await close(opened);
  });

  test('unplugged, again and again: says so, and the photo is back', async () => {
    const opened = await openLive();
    const { page } = opened;
    for (let i = 0; i < 3; i += 1) {
      await page.evaluate(() => {
        const [track] = on();
        track.stop();
        track.dispatchEvent(new Event('ended'));
      });
      await isOff(page);
      assert.match(await page.textContent('#notice:not([hidden])'), /camera is gone/);
      await captioned(page);
      assert.equal(await page.isVisible('#photo'), true);
      await clicks(page, '#camera');
      await isLive(page);
      assert.equal(await page.isHidden('#notice'), true);
    }
    await close(opened);
  });

  test('the list of cameras', async () => {
    const opened = await openLive();
    const { page } = opened;
    await clicks(page, '#more-controls summary');
    const values = await page.$$eval('#cameras option', (options) => options.map(({ value, label }) => [value, label]));
    assert.equal(values.length, 2);
    for (const [value, label] of [...values, values[0]]) {
      assert.ok(label);
      await page.selectOption('#cameras', value);
      await settle(page);
      await isLive(page);
      assert.equal(await page.evaluate(() => on()[0].getSettings().deviceId), value);
      assert.equal(await page.inputValue('#cameras'), value);
    }
    // It is the one that is started next time, too.
    await clicks(page, '#camera', '#camera');
    await settle(page);
    await isLive(page);
    assert.equal(await page.evaluate(() => on()[0].getSettings().deviceId), values[0][0]);
    await close(opened);
  });

  test('mirrored on the page alone', async () => {
    const opened = await openLive();
    const { page } = opened;
    const turned = () => page.evaluate(() => getComputedStyle(document.querySelector('#video')).transform);
    assert.equal(await turned(), 'none');
    await clicks(page, '#more-controls summary');
    await page.locator('#mirror').check();
    assert.match(await turned(), /matrix\(-1/);
    await clicks(page, '#flip');
    await settle(page);
    await isLive(page);
    assert.match(await turned(), /matrix\(-1/, 'with another camera, too');
    await clicks(page, '#freeze');
    await page.waitForFunction(() => !document.querySelector('#photo').hidden);
    assert.match(await page.evaluate(() => getComputedStyle(document.querySelector('#photo')).transform), /matrix\(-1/, 'and frozen');
    await close(opened);
  });

  test('remembering is switched without another start', async () => {
    const opened = await openLive();
    const { page } = opened;
    await captioned(page);
    await page.waitForSelector('#moments li');
    await clicks(page, '#remember', '#remember', '#remember');
    await isLive(page);
    assert.equal(await page.evaluate(() => tracks.length), 1);
    await close(opened);
  });

  test('frozen: the frame with its caption, and the camera off until it goes on', async () => {
    const opened = await openLive();
    const { page } = opened;
    await clicks(page, '#more-controls summary');
    await page.selectOption('#cameras', { index: 1 });
    await settle(page);
    const device = await page.inputValue('#cameras');
    await clicks(page, '#freeze', '#freeze');
    await page.waitForFunction(() => !on().length);
    await page.waitForSelector('#resume:not([hidden])');
    await isOff(page);
    await captioned(page);
    assert.equal(await page.evaluate(() => document.querySelector('#photo').decode().then(() => document.querySelector('#photo').naturalWidth)), 640);
    const focused = () => page.evaluate(() => document.activeElement.id);
    assert.equal(await focused(), 'resume');
    await page.keyboard.press('Enter');
    await isLive(page);
    assert.equal(await focused(), 'freeze');
    assert.equal(await page.evaluate(() => on()[0].getSettings().deviceId), device);
    assert.equal(await page.isVisible('#resume'), false);
    await clicks(page, '#freeze');
    await page.waitForSelector('#resume:not([hidden])');
    await clicks(page, '.samples li:nth-child(2) button');
    assert.equal(await page.isVisible('#resume'), false, 'another picture is not to be gone on with');
    await close(opened);
  });

  test('a frame is kept, with its caption, and the camera goes on', async () => {
    const opened = await openLive();
    const { page } = opened;
    await clicks(page, '#snapshot');
    await page.waitForFunction(() => document.querySelector('#gallery-photos li img')?.src && document.querySelector('#gallery-photos li span').textContent.length > 1, undefined, { timeout: 20_000 });
    assert.equal(await page.textContent('#did'), 'Kept');
    await isLive(page);
    await clicks(page, '#gallery-photos button');
    await isOff(page);
    await captioned(page);
    assert.equal(await page.textContent('#caption'), await page.textContent('#gallery-photos li span'));
    await close(opened);
  });
});

describe('a screen', () => {
  test('is shown until its sharing ends, in place of the camera', async () => {
    const opened = await openLive();
    const { page } = opened;
    await clicks(page, '#more-controls summary');
    await page.click('#screen');
    await settle(page);
    await isLive(page);
    assert.equal(await page.evaluate(() => on()[0].getSettings().displaySurface !== undefined), true);
    for (const id of ['#flip', '#mirror-line']) assert.equal(await page.isVisible(id), false, id);
    await captioned(page);
    await page.evaluate(() => {
      const [track] = on();
      track.stop();
      track.dispatchEvent(new Event('ended'));
    });
    await isOff(page);
    assert.equal(await page.isHidden('#notice'), true);
    await clicks(page, '#camera'); // which is a camera still
    await isLive(page);
    assert.equal(await page.evaluate(() => on()[0].getSettings().displaySurface), undefined);
    await close(opened);
  });

  test('not chosen after all: the photo is back without a word; not to be had: says so', async () => {
    const opened = await open();
    const { page } = opened;
    for (const [name, words] of [['NotAllowedError', ''], ['NotReadableError', 'could not be shown']]) {
      await page.evaluate((name) => (navigator.mediaDevices.getDisplayMedia = () => Promise.reject(new DOMException('no', name))), name);
      await clicks(page, '#screen');
      await settle(page);
      await isOff(page);
      assert.match(await page.textContent('#notice-text'), new RegExp(words));
      assert.equal(await page.isHidden('#notice'), words === '');
      await captioned(page);
    }
    await close(opened);
  });
});
