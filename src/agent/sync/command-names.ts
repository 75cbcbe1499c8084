/**
 * Small numbers for command names, so that the name of each command on its way can be kept in two bytes until it is
 * answered. Names beyond the bound share one number.
 */
export class CommandNames {
  readonly #names: string[] = ['a command'];
  readonly #ids = new Map<string, number>();

  /** The number of a name in capitals. */
  id(name: string): number {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    if (this.#names.length >= NAMES_MAX) return 0;
    this.#names.push(name);
    this.#ids.set(name, this.#names.length - 1);
    return this.#names.length - 1;
  }

  /** The name of a number. */
  name(id: number): string {
    return this.#names[id] ?? 'a command';
  }
}

const NAMES_MAX = 4096;
