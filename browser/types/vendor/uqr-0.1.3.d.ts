/** What the pages use of uqr. */
export function encode(text: string, options: { ecc: 'L' | 'M' | 'Q' | 'H'; border: number }): {
  data: boolean[][];
  size: number;
};
