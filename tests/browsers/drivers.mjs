// Firefox ESR and WebKitGTK's MiniBrowser, as Debian has them, as far as these tests need them: open a page, run a function there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import puppeteer from 'puppeteer-core';
import { Builder, Capabilities } from 'selenium-webdriver';

const FIREFOX = process.env.FIREFOX_PATH ?? '/usr/bin/firefox-esr';
const WEBKIT = { driver: '/usr/bin/WebKitWebDriver', browser: process.env.MINIBROWSER_PATH ?? '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser' };
const SLOW = 180_000; // a busy machine

/** { page, relaunch, close }: a browser with a profile that outlives a relaunch. */
export async function firefox() {
  const profile = await mkdtemp(join(tmpdir(), 'bitmar-firefox-'));
  const launch = () =>
    puppeteer.launch({
      browser: 'firefox',
      executablePath: FIREFOX,
      headless: true,
      userDataDir: profile,
      protocolTimeout: SLOW,
      extraPrefsFirefox: { 'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true },
    });
  let browser = await launch();
  return {
    webcam: true, // a made-up one, which may be used without asking
    async page() {
      const page = await browser.newPage();
      return {
        open: (url) => page.goto(url),
        reload: () => page.reload(),
        run: (f, ...args) => page.evaluate(f, ...args),
      };
    },
    async relaunch() {
      await browser.close();
      browser = await launch();
    },
    async close() {
      await browser.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The same without a relaunch: an automated MiniBrowser keeps nothing. */
export async function webkit() {
  const port = await freePort();
  const driver = spawn(WEBKIT.driver, [`--port=${port}`], { stdio: 'ignore' });
  const exited = once(driver, 'exit');
  const capabilities = new Capabilities({
    browserName: 'MiniBrowser',
    'webkitgtk:browserOptions': { binary: WEBKIT.browser, args: ['--automation'] },
  });
  const session = await retry(() => new Builder().disableEnvironmentOverrides().usingServer(`http://127.0.0.1:${port}`).withCapabilities(capabilities).build());
  await session.manage().setTimeouts({ script: SLOW, pageLoad: SLOW });
  return {
    async page() {
      return {
        open: (url) => session.get(url),
        reload: () => session.navigate().refresh(),
        async run(f, ...args) {
          const [value, error] = await session.executeAsyncScript(
            `const done = arguments[arguments.length - 1];
             (${f})(...Array.prototype.slice.call(arguments, 0, -1)).then((value) => done([value ?? null]), (error) => done([null, String(error?.stack ?? error)]));`,
            ...args,
          );
          if (error) throw new Error(error);
          return value;
        },
      };
    },
    async close() {
      await session.quit();
      driver.kill();
      await exited;
    },
  };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Until the driver listens. */
async function retry(f, times = 50) {
  for (let i = 0; ; i += 1) {
    try {
      return await f();
    } catch (error) {
      if (i === times || !/ECONNREFUSED/.test(String(error))) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
