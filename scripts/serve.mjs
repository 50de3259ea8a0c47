// A small static server with the headers that make a page cross-origin isolated, and those of the folder's _headers, if it has one.
// As a program: node scripts/serve.mjs FOLDER [--port N]. As a module: the browser tests call serve().
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.wasm': 'application/wasm',
  '.safetensors': 'application/octet-stream',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.md': 'text/plain; charset=utf-8',
};

const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-cache',
};

/** What a file of static hosts' headers says: addresses, with a star at the end for all that begin so, each with its headers indented below. */
function parseHeaders(text) {
  const rules = [];
  for (const line of text.split('\n')) {
    if (!line.trim() || line.trim().startsWith('#')) continue;
    if (!/^\s/.test(line)) rules.push({ pattern: line.trim(), headers: {} });
    const [, name, value] = /^\s+([\w-]+):\s*(.+)$/.exec(line) ?? [];
    if (name) rules.at(-1).headers[name] = value;
  }
  return rules;
}

/** The headers for that path; later rules win. */
function headersFor(rules, path) {
  const fits = ({ pattern }) => (pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern);
  return Object.assign({ ...HEADERS }, ...rules.filter(fits).map(({ headers }) => headers));
}

/** The file that a request path names inside root, or null. */
async function find(root, path) {
  const file = resolve(root, `.${sep}${path}`);
  if (file !== root && !file.startsWith(root + sep)) return null;
  const info = await stat(file).catch(() => null);
  if (info?.isDirectory()) return path.endsWith('/') ? find(root, `${path}index.html`) : { redirect: `${path}/` };
  return info?.isFile() ? { file, size: info.size, modified: info.mtime } : null;
}

/** "bytes=2-5", "bytes=2-" or "bytes=-3" as [first, last]; null when there is no range, false when it lies outside. */
function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (!match[1] && !match[2])) return null;
  const first = match[1] ? Number(match[1]) : Math.max(0, size - Number(match[2]));
  const last = match[1] && match[2] ? Math.min(Number(match[2]), size - 1) : size - 1;
  return first <= last ? [first, last] : false;
}

/** Whether the client has this version of the file already; an ETag, where it sends one, has the say. */
function isFresh({ 'if-none-match': tags, 'if-modified-since': since }, etag, modified) {
  if (tags !== undefined) return tags.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));
  return since !== undefined && Math.floor(modified.getTime() / 1000) * 1000 <= Date.parse(since);
}

/** A part of a file is of use only beside parts of the same version. */
function isSame(ifRange, etag, modified) {
  return ifRange === undefined || ifRange === etag || ifRange === modified.toUTCString();
}

async function answer(root, rules, request, response) {
  let common = HEADERS;
  const send = (status, headers = {}, text = '') => response.writeHead(status, { ...common, ...headers }).end(text);
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(405, { Allow: 'GET, HEAD' });
  let path;
  try {
    path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
  } catch {
    return send(400);
  }
  common = headersFor(rules, path);
  const found = path.includes('\0') || path === '/_headers' ? null : await find(root, path);
  if (!found) return send(404, { 'Content-Type': 'text/plain' }, 'not found\n');
  if (found.redirect) return send(301, { Location: found.redirect });

  const etag = `"${found.size.toString(36)}-${found.modified.getTime().toString(36)}"`;
  const version = { ETag: etag, 'Last-Modified': found.modified.toUTCString() };
  if (isFresh(request.headers, etag, found.modified)) return send(304, version);

  const range = isSame(request.headers['if-range'], etag, found.modified) ? parseRange(request.headers.range, found.size) : null;
  if (range === false) return send(416, { 'Content-Range': `bytes */${found.size}` });
  const [start, end] = range ?? [0, found.size - 1];
  response.writeHead(range ? 206 : 200, {
    ...common,
    'Content-Type': TYPES[extname(found.file).toLowerCase()] ?? 'application/octet-stream',
    'Content-Length': end - start + 1,
    ...version,
    'Accept-Ranges': 'bytes',
    ...(range && { 'Content-Range': `bytes ${start}-${end}/${found.size}` }),
  });
  if (request.method === 'HEAD' || found.size === 0) return response.end();
  pipeline(createReadStream(found.file, { start, end }), response, () => {});
}

/**
 * Serves a folder on localhost. Port 0 takes any free one.
 * @param {{ root: string, port?: number }} options
 * @returns {Promise<{ url: string, port: number, close: () => Promise<void> }>} url ends in a slash
 */
export async function serve({ root, port = 0 }) {
  const folder = resolve(root);
  const rules = parseHeaders(await readFile(join(folder, '_headers'), 'utf8').catch(() => ''));
  const server = createServer((request, response) => {
    answer(folder, rules, request, response).catch(() => response.destroy());
  });
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(port, '127.0.0.1', () => {
      done({
        url: `http://localhost:${server.address().port}/`,
        port: server.address().port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const usage = 'usage: serve.mjs FOLDER [--port N]';
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { port: { type: 'string', default: '8080' } } });
    const port = Number(values.port);
    if (positionals.length !== 1 || !Number.isInteger(port) || port < 0 || port > 65535) throw new Error(usage);
    const { url } = await serve({ root: positionals[0], port });
    console.log(`\n  The page is at ${url}\n  Ctrl+C stops it.\n`);
  } catch (error) {
    console.error(error.code === 'EADDRINUSE' ? 'error: that port is taken; choose another with --port N' : `error: ${error.message}`);
    process.exit(1);
  }
}
