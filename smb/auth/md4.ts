const rotate = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

/** Message padded to whole 64-byte blocks: 0x80, zeros, length in bits (RFC 1320 3.1, 3.2). */
function pad(message: Uint8Array): Buffer {
  const padded = Buffer.alloc((message.length + 9 + 63) & ~63);
  padded.set(message);
  padded[message.length] = 0x80;
  padded.writeBigUInt64LE(BigInt(message.length) * 8n, padded.length - 8);
  return padded;
}

const round2Order = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
const round3Order = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];
const roundShifts = [
  [3, 7, 11, 19],
  [3, 5, 9, 13],
  [3, 9, 11, 15],
];

/**
 * MD4 (RFC 1320), 16 bytes. OpenSSL 3 keeps it in a provider that is not loaded, and the NT hash needs it. Weak: for that
 * purpose only.
 */
export function md4(message: Uint8Array): Buffer {
  const padded = pad(message);
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  const words = new Int32Array(16);
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) words[i] = padded.readInt32LE(block + 4 * i);
    compress(state, words);
  }
  words.fill(0);
  padded.fill(0);
  const digest = Buffer.alloc(16);
  for (const [i, word] of state.entries()) digest.writeInt32LE(word, 4 * i);
  return digest;
}

/** One application of the three rounds (RFC 1320 3.4). */
function compress(state: Int32Array, words: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (let step = 0; step < 48; step++) {
    const round = step >> 4;
    const i = step & 15;
    const shift = roundShifts[round]?.[i & 3] ?? 0;
    let mixed: number;
    if (round === 0) mixed = ((b & c) | (~b & d)) + (words[i] ?? 0);
    else if (round === 1) mixed = ((b & c) | (b & d) | (c & d)) + (words[round2Order[i] ?? 0] ?? 0) + 0x5a827999;
    else mixed = (b ^ c ^ d) + (words[round3Order[i] ?? 0] ?? 0) + 0x6ed9eba1;
    const next = rotate((a + mixed) | 0, shift);
    [a, b, c, d] = [d, next, b, c];
  }
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}
