// How far the command line has come, on a terminal's last line.

const WIDTH = 30;

export class ProgressBar {
  readonly #shown = process.stderr.isTTY;
  #drawn = false;

  show(done: number, total: number, what = ''): void {
    if (!this.#shown || total <= 1) return;
    const filled = Math.round((WIDTH * Math.min(done, total)) / total);
    process.stderr.write(`\r[${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}] ${done}/${total}${what}\x1b[K`);
    this.#drawn = true;
  }

  /** Before anything else is written. */
  clear(): void {
    if (this.#drawn) process.stderr.write('\r\x1b[K');
    this.#drawn = false;
  }
}
