import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const MODEL = pathToFileURL(resolve(process.env.BITMAR_MODEL ?? `${HERE}/../../models/default`) + '/'); // BITMAR_MODEL: another folder
const MODEL_FILES = ['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors'];
/** For hosts, people and home screens, and the service worker itself. */
const NOT_OF_THE_PAGE = /^(sw\.js|_headers|icons\/.*|.*\.md)$/;

/** The model, served as model/ and built as model/HASH/ beside the page: an older page goes on with its own. */
function model(): Plugin {
  const hash = createHash('sha256');
  for (const name of MODEL_FILES) hash.update(readFileSync(new URL(name, MODEL)));
  const folder = `model/${hash.digest('hex').slice(0, 16)}/`;
  return {
    name: 'bitmar-model',
    enforce: 'pre',
    // The page names its model: the package's default one would be a second copy.
    resolveId: (id) => (id === 'bitmar-model' ? '\0bitmar-model' : undefined),
    load: (id) => (id === '\0bitmar-model' ? 'export default undefined;' : undefined),
    config: (_, { command }) => ({ define: { 'import.meta.env.MODEL_FOLDER': JSON.stringify(command === 'build' ? folder : 'model/') } }),
    configureServer(server) {
      server.middlewares.use('/model', (request, response, next) => {
        const file = MODEL_FILES.find((name) => request.url === `/${name}`);
        if (file) createReadStream(new URL(file, MODEL)).pipe(response);
        else next();
      });
    },
    generateBundle() {
      for (const name of MODEL_FILES) {
        this.emitFile({ type: 'asset', fileName: `${folder}${name}`, source: readFileSync(new URL(name, MODEL)) });
      }
    },
  };
}

/** The page's words, of src/strings.json or of the file that BITMAR_STRINGS names, in index.html and the manifest in place of {{names}}. */
function words(): Plugin {
  const file = resolve(process.env.BITMAR_STRINGS ?? `${HERE}/src/strings.json`);
  const strings: Record<string, unknown> = JSON.parse(readFileSync(file, 'utf8'));
  const filled = (text: string, escaped: (word: string) => string) =>
    text.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
      const word = strings[name];
      if (typeof word !== 'string') throw new Error(`${file} has no "${name}"`);
      return escaped(word);
    });
  const forHtml = (word: string) => word.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
  const manifest = (path: string) => filled(readFileSync(path, 'utf8'), (word) => JSON.stringify(word).slice(1, -1));
  return {
    name: 'bitmar-words',
    enforce: 'pre',
    resolveId: (id) => (id.endsWith('/strings.json') ? file : undefined),
    transformIndexHtml: { order: 'pre', handler: (html) => filled(html, forHtml) },
    configureServer(server) {
      server.middlewares.use('/manifest.webmanifest', (_, response) => {
        response.setHeader('Content-Type', 'application/manifest+json').end(manifest(`${HERE}/public/manifest.webmanifest`));
      });
    },
    writeBundle({ dir }) {
      const path = join(dir!, 'manifest.webmanifest');
      writeFileSync(path, manifest(path));
    },
  };
}

/** sw.js with the list of everything that the page consists of, as it lies on the disk, and a version that changes when any of it does. */
function serviceWorker(): Plugin {
  return {
    name: 'bitmar-service-worker',
    apply: 'build',
    enforce: 'post',
    writeBundle({ dir }) {
      const all = readdirSync(dir!, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      const names = all.map((entry) => relative(dir!, join(entry.parentPath, entry.name)).replaceAll(sep, '/'));
      const files = names.filter((name) => !NOT_OF_THE_PAGE.test(name)).sort().map((name) => {
        const integrity = `sha256-${createHash('sha256').update(readFileSync(join(dir!, name))).digest('base64')}`;
        const [, build] = /bitmar-(relaxed-threads|relaxed|simd)-/.exec(name.replace('/worker-threads-', '/bitmar-relaxed-threads-')) ?? [];
        return [name === 'index.html' ? './' : name, integrity, build ?? (/^(assets|model)\//.test(name) ? 'hashed' : 'plain')];
      });
      const source = readFileSync(new URL('./src/sw.js', import.meta.url), 'utf8');
      const version = createHash('sha256').update(source).update(JSON.stringify(files)).digest('hex').slice(0, 16);
      const filled = source.replace("'VERSION'", JSON.stringify(version)).replace("['FILES']", JSON.stringify(files));
      writeFileSync(join(dir!, 'sw.js'), filled);
    },
  };
}

export default defineConfig({
  root: HERE,
  base: './', // any folder of any static host
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['bitmar'] },
  plugins: [words(), model(), serviceWorker()],
});
