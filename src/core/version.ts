/** The version of this code, as package.json has it. */
export const VERSION = '0.1.0';
