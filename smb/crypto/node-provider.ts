// The plain way: node:crypto with key objects. A few microseconds a call, and it allocates; it is here for machines where
// the fast way (openssl-provider.ts) cannot be had, and to check that one against.
import {
  type CipherCCM,
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type DecipherCCM,
  type DecipherGCM,
  type KeyObject,
} from 'node:crypto';
import { SigningAlgorithmId } from '../constants.ts';
import { type Aead, type CipherFacts, checkAead, checkMac, type Mac, type Provider, TAG_SIZE } from './provider.ts';

const BLOCK_SIZE = 16;
const ZERO_BLOCK = Buffer.alloc(BLOCK_SIZE);

export const nodeProvider: Provider = {
  name: 'node',
  mac(algorithm: number, key: Buffer): Mac {
    checkMac(algorithm, key);
    switch (algorithm) {
      case SigningAlgorithmId.HMAC_SHA256:
        return new NodeHmac(key);
      case SigningAlgorithmId.AES_CMAC:
        return new NodeCmac(key);
      default:
        return new NodeGmac(key);
    }
  },
  aead(cipherId: number, key: Buffer): Aead {
    return new NodeAead(checkAead(cipherId, key), key);
  },
};

class NodeHmac implements Mac {
  readonly #key: KeyObject;

  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  compute(message: Buffer, _nonce: Buffer, tag: Buffer): void {
    createHmac('sha256', this.#key).update(message).digest().copy(tag, 0, 0, TAG_SIZE);
  }

  close(): void {}
}

class NodeGmac implements Mac {
  readonly #key: KeyObject;

  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  compute(message: Buffer, nonce: Buffer, tag: Buffer): void {
    const cipher = createCipheriv('aes-128-gcm', this.#key, nonce);
    cipher.setAAD(message);
    cipher.final();
    cipher.getAuthTag().copy(tag);
  }

  close(): void {}
}

/** AES-CMAC (RFC 4493) out of AES-CBC: the code is the last block, the final input block having been masked with a subkey. */
class NodeCmac implements Mac {
  readonly #key: KeyObject;
  readonly #whole: Buffer;
  readonly #padded: Buffer;
  readonly #last = Buffer.alloc(BLOCK_SIZE);

  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
    const ecb = createCipheriv('aes-128-ecb', this.#key, null).setAutoPadding(false);
    this.#whole = doubled(ecb.update(ZERO_BLOCK));
    this.#padded = doubled(this.#whole);
  }

  compute(message: Buffer, _nonce: Buffer, tag: Buffer): void {
    const before = message.length === 0 ? 0 : Math.floor((message.length - 1) / BLOCK_SIZE) * BLOCK_SIZE;
    const last = this.#last.fill(0);
    const size = message.copy(last, 0, before);
    if (size < BLOCK_SIZE) last[size] = 0x80;
    const mask = size < BLOCK_SIZE ? this.#padded : this.#whole;
    for (let i = 0; i < BLOCK_SIZE; i++) last[i] = (last[i] ?? 0) ^ (mask[i] ?? 0);
    const cbc = createCipheriv('aes-128-cbc', this.#key, ZERO_BLOCK).setAutoPadding(false);
    if (before > 0) cbc.update(message.subarray(0, before));
    cbc.update(last).copy(tag);
  }

  close(): void {
    this.#whole.fill(0);
    this.#padded.fill(0);
  }
}

/** The block times x in GF(2^128), as RFC 4493 2.3 derives its subkeys. */
function doubled(block: Buffer): Buffer {
  const result = Buffer.alloc(BLOCK_SIZE);
  let carry = 0;
  for (let i = BLOCK_SIZE - 1; i >= 0; i--) {
    const byte = block[i] ?? 0;
    result[i] = ((byte << 1) & 0xff) | carry;
    carry = byte >>> 7;
  }
  if (carry) result[BLOCK_SIZE - 1] = (result[BLOCK_SIZE - 1] ?? 0) ^ 0x87;
  return result;
}

class NodeAead implements Aead {
  readonly #facts: CipherFacts;
  readonly #key: KeyObject;

  constructor(facts: CipherFacts, key: Buffer) {
    this.#facts = facts;
    this.#key = createSecretKey(key);
  }

  encrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): void {
    const cipher = createCipheriv(this.#facts.name as 'aes-128-ccm', this.#key, nonce, { authTagLength: TAG_SIZE }) as
      | CipherCCM
      | CipherGCM;
    cipher.setAAD(aad, { plaintextLength: data.length });
    const text = cipher.update(data);
    cipher.final();
    text.copy(data);
    cipher.getAuthTag().copy(tag);
  }

  decrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean {
    const decipher = createDecipheriv(this.#facts.name as 'aes-128-ccm', this.#key, nonce, {
      authTagLength: TAG_SIZE,
    }) as DecipherCCM | DecipherGCM;
    decipher.setAuthTag(tag);
    decipher.setAAD(aad, { plaintextLength: data.length });
    try {
      // CCM checks the tag in update, GCM in final; both throw an error without a code of its own.
      const text = decipher.update(data);
      decipher.final();
      text.copy(data);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {}
}
