const IDENTITY = Uint8Array.from({ length: 256 }, (_, i) => i);

/** RC4 over `data` from the start of the key stream. OpenSSL 3 no longer loads it; NTLM's key exchange needs it. */
export function rc4(key: Uint8Array, data: Uint8Array): Buffer {
  const state = IDENTITY.slice();
  for (let i = 0, j = 0; i < 256; i++) {
    const held = state[i] as number;
    j = (j + held + (key[i % key.length] as number)) & 0xff;
    state[i] = state[j] as number;
    state[j] = held;
  }
  const out = Buffer.alloc(data.length);
  for (let n = 0, i = 0, j = 0; n < data.length; n++) {
    i = (i + 1) & 0xff;
    const held = state[i] as number;
    j = (j + held) & 0xff;
    const other = state[j] as number;
    state[i] = other;
    state[j] = held;
    out[n] = (data[n] as number) ^ (state[(held + other) & 0xff] as number);
  }
  return out;
}
