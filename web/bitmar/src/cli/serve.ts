// bitmar serve: the page, where there is one. It has its own copies of the model and the WebAssembly, six megabytes in all, and is not packed.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { BitMarError, messageOf } from '../api/errors.js';

const PAGE = new URL('../../../demo/dist/', import.meta.url);
const SERVER = new URL('../../../../scripts/serve.mjs', import.meta.url);

/** How a browser is opened, by platform. */
const OPENERS: Partial<Record<NodeJS.Platform, [program: string, ...args: string[]]>> = { darwin: ['open'], win32: ['cmd', '/c', 'start', ''] };

export async function serve({ port, open }: { port: number; open: boolean }): Promise<void> {
  if (!existsSync(new URL('index.html', PAGE)) || !existsSync(SERVER)) {
    const how = existsSync(SERVER) ? 'npm run demo builds and serves it' : 'in a clone of the repository, npm run demo builds and serves it';
    throw new BitMarError('missing_file', `The page is not part of the npm package, and not built here: ${how}`);
  }
  const { serve: start } = (await import(SERVER.href)) as { serve(options: { root: string; port: number }): Promise<{ url: string }> };
  const { url } = await start({ root: fileURLToPath(PAGE), port }).catch((error: unknown) => {
    throw new BitMarError('network', `Port ${port} cannot be used: ${messageOf(error)}`, { cause: error });
  });
  process.stdout.write(`${url}\n`);
  if (open && process.stdout.isTTY) openBrowser(url);
}

/** The address is on the terminal already, should there be no browser. */
function openBrowser(url: string): void {
  const [program, ...args] = OPENERS[process.platform] ?? ['xdg-open'];
  spawn(program, [...args, url], { stdio: 'ignore', detached: true }).on('error', () => {}).unref();
}
