import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const MODEL = pathToFileURL(resolve(process.env.BITMAR_MODEL ?? `${HERE}/../../models/default`) + '/'); // BITMAR_MODEL: another folder
const PUBLIC = new URL('./public/', import.meta.url);
const MODEL_FILES = ['config.json', 'tokenizer.json', 'preprocessor_config.json', 'model.safetensors'];

/** The model, served and built as model/ beside the page. */
function model(): Plugin {
  return {
    name: 'bitmar-model',
    configureServer(server) {
      server.middlewares.use('/model', (request, response, next) => {
        const file = MODEL_FILES.find((name) => request.url === `/${name}`);
        if (file) createReadStream(new URL(file, MODEL)).pipe(response);
        else next();
      });
    },
    generateBundle() {
      for (const name of MODEL_FILES) {
        this.emitFile({ type: 'asset', fileName: `model/${name}`, source: readFileSync(new URL(name, MODEL)) });
      }
    },
  };
}

/** sw.js with the list of everything that the page consists of, and a version that changes when any of it does. */
function serviceWorker(): Plugin {
  return {
    name: 'bitmar-service-worker',
    apply: 'build',
    enforce: 'post',
    generateBundle(_, bundle) {
      const hash = createHash('sha256');
      const files = ['./'];
      for (const [name, output] of Object.entries(bundle)) {
        hash.update(name).update(output.type === 'chunk' ? output.code : output.source);
        if (name !== 'index.html') files.push(name);
      }
      for (const name of readdirSync(PUBLIC, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(svg|webmanifest|jpg)$/.test(name)) continue;
        hash.update(name).update(readFileSync(new URL(name, PUBLIC)));
        files.push(name);
      }
      const source = readFileSync(new URL('./src/sw.js', import.meta.url), 'utf8')
        .replace("'VERSION'", JSON.stringify(hash.digest('hex').slice(0, 16)))
        .replace("['FILES']", JSON.stringify(files.sort()));
      this.emitFile({ type: 'asset', fileName: 'sw.js', source });
    },
  };
}

export default defineConfig({
  root: HERE,
  base: './', // any folder of any static host
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['bitmar'] },
  plugins: [model(), serviceWorker()],
});
