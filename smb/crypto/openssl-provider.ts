// The fast way: OpenSSL's EVP out of the node executable (which exports its OpenSSL for add-ons), called through koffi with
// contexts that keep their expanded key. About a microsecond a call where node:crypto takes four to six.
// Whoever changes a prototype here: a wrong one corrupts memory silently; defaultProvider tests all before use.
import koffi from 'koffi';
import { SigningAlgorithmId } from '../constants.ts';
import { CryptoError } from './errors.ts';
import { type Aead, type CipherFacts, checkAead, checkMac, type Mac, type Provider, TAG_SIZE } from './provider.ts';

/** EVP_CTRL_AEAD_* of openssl/evp.h. */
const CTRL_SET_IVLEN = 0x9;
const CTRL_GET_TAG = 0x10;
const CTRL_SET_TAG = 0x11;

type Pointer = unknown;
type Create = () => Pointer;
type Free = (context: Pointer) => void;
/** 1 for success. */
type Call = (...args: unknown[]) => number;

interface Functions {
  ciphers: Record<CipherFacts['name'], Pointer>;
  sha256: Pointer;
  aes128Cbc: Pointer;
  cipherNew: Create;
  cipherFree: Free;
  encryptInit: Call;
  encryptUpdate: Call;
  encryptFinal: Call;
  decryptInit: Call;
  decryptUpdate: Call;
  decryptFinal: Call;
  control: Call;
  cmacNew: Create;
  cmacFree: Free;
  cmacInit: Call;
  cmacUpdate: Call;
  cmacFinal: Call;
  hmacNew: Create;
  hmacFree: Free;
  hmacInit: Call;
  hmacUpdate: Call;
  hmacFinal: Call;
  clearErrors: () => void;
}

/** Binds the functions. Throws if this executable does not export them. */
function bind(): Functions {
  const library = koffi.load(null);
  const bound = (prototype: string) => library.func(prototype);
  const constant = (name: string): Pointer => bound(`void *${name}()`)();
  const update = '(void *ctx, uint8_t *out, uint8_t *outLength, const uint8_t *in, int inLength)';
  const init = '(void *ctx, void *type, void *engine, const uint8_t *key, const uint8_t *iv)';
  const final = '(void *ctx, uint8_t *out, uint8_t *outLength)';
  return {
    ciphers: {
      'aes-128-ccm': constant('EVP_aes_128_ccm'),
      'aes-128-gcm': constant('EVP_aes_128_gcm'),
      'aes-256-ccm': constant('EVP_aes_256_ccm'),
      'aes-256-gcm': constant('EVP_aes_256_gcm'),
    },
    sha256: constant('EVP_sha256'),
    aes128Cbc: constant('EVP_aes_128_cbc'),
    cipherNew: bound('void *EVP_CIPHER_CTX_new()'),
    cipherFree: bound('void EVP_CIPHER_CTX_free(void *ctx)'),
    encryptInit: bound(`int EVP_EncryptInit_ex${init}`),
    encryptUpdate: bound(`int EVP_EncryptUpdate${update}`),
    encryptFinal: bound(`int EVP_EncryptFinal_ex${final}`),
    decryptInit: bound(`int EVP_DecryptInit_ex${init}`),
    decryptUpdate: bound(`int EVP_DecryptUpdate${update}`),
    decryptFinal: bound(`int EVP_DecryptFinal_ex${final}`),
    control: bound('int EVP_CIPHER_CTX_ctrl(void *ctx, int type, int arg, uint8_t *ptr)'),
    cmacNew: bound('void *CMAC_CTX_new()'),
    cmacFree: bound('void CMAC_CTX_free(void *ctx)'),
    cmacInit: bound('int CMAC_Init(void *ctx, const uint8_t *key, size_t keyLength, void *cipher, void *engine)'),
    cmacUpdate: bound('int CMAC_Update(void *ctx, const uint8_t *data, size_t length)'),
    cmacFinal: bound('int CMAC_Final(void *ctx, uint8_t *out, uint8_t *outLength)'),
    hmacNew: bound('void *HMAC_CTX_new()'),
    hmacFree: bound('void HMAC_CTX_free(void *ctx)'),
    hmacInit: bound('int HMAC_Init_ex(void *ctx, const uint8_t *key, int keyLength, void *digest, void *engine)'),
    hmacUpdate: bound('int HMAC_Update(void *ctx, const uint8_t *data, size_t length)'),
    hmacFinal: bound('int HMAC_Final(void *ctx, uint8_t *out, uint8_t *outLength)'),
    clearErrors: bound('void ERR_clear_error()'),
  };
}

/** Throws if this executable does not export what is needed. */
export function openSslProvider(): Provider {
  const functions = bind();
  return {
    name: 'openssl',
    mac(algorithm: number, key: Buffer): Mac {
      checkMac(algorithm, key);
      switch (algorithm) {
        case SigningAlgorithmId.HMAC_SHA256:
          return new OpenSslHmac(functions, key);
        case SigningAlgorithmId.AES_CMAC:
          return new OpenSslCmac(functions, key);
        default:
          return new OpenSslGmac(functions, key);
      }
    },
    aead(cipherId: number, key: Buffer): Aead {
      const facts = checkAead(cipherId, key);
      return facts.isCcm ? new OpenSslCcm(functions, facts, key) : new OpenSslGcm(functions, facts, key);
    },
  };
}

/** Scratch for what OpenSSL writes and nobody reads: lengths, final blocks. Calls are synchronous, so one does for all. */
const length = Buffer.alloc(8);
const finalBlock = Buffer.alloc(64);

/** Frees native contexts whose owner was collected without `close`. */
const forgotten = new FinalizationRegistry<() => void>((free) => free());

/** A native context that is freed once, by `close` or when its owner is collected. */
class Context {
  readonly #free: Free;
  #pointer: Pointer;

  constructor(owner: object, create: Create, free: Free) {
    this.#free = free;
    this.#pointer = create();
    if (!this.#pointer) throw new CryptoError('LIBRARY_FAILED', 'OpenSSL has no memory for a context');
    forgotten.register(owner, () => this.close(), this);
  }

  get pointer(): Pointer {
    if (!this.#pointer) throw new CryptoError('LIBRARY_FAILED', 'used after close');
    return this.#pointer;
  }

  close(): void {
    if (!this.#pointer) return;
    forgotten.unregister(this);
    this.#free(this.#pointer);
    this.#pointer = undefined;
  }
}

/** OpenSSL says 1 for success. Its error queue is Node's too and must not keep what we caused. */
function must(functions: Functions, result: number, what: string): void {
  if (result === 1) return;
  functions.clearErrors();
  throw new CryptoError('LIBRARY_FAILED', `OpenSSL refused ${what}`);
}

class OpenSslHmac implements Mac {
  readonly #functions: Functions;
  readonly #context: Context;

  constructor(functions: Functions, key: Buffer) {
    this.#functions = functions;
    this.#context = new Context(this, functions.hmacNew, functions.hmacFree);
    const result = functions.hmacInit(this.#context.pointer, key, key.length, functions.sha256, null);
    must(functions, result, 'an HMAC key');
  }

  compute(message: Buffer, _nonce: Buffer, tag: Buffer): void {
    const { hmacInit, hmacUpdate, hmacFinal } = this.#functions;
    const context = this.#context.pointer;
    const result =
      hmacInit(context, null, 0, null, null) &
      hmacUpdate(context, message, message.length) &
      hmacFinal(context, finalBlock, length);
    must(this.#functions, result, 'HMAC');
    finalBlock.copy(tag, 0, 0, TAG_SIZE);
  }

  close(): void {
    this.#context.close();
  }
}

class OpenSslCmac implements Mac {
  readonly #functions: Functions;
  readonly #context: Context;

  constructor(functions: Functions, key: Buffer) {
    this.#functions = functions;
    this.#context = new Context(this, functions.cmacNew, functions.cmacFree);
    const result = functions.cmacInit(this.#context.pointer, key, key.length, functions.aes128Cbc, null);
    must(functions, result, 'a CMAC key');
  }

  compute(message: Buffer, _nonce: Buffer, tag: Buffer): void {
    const { cmacInit, cmacUpdate, cmacFinal } = this.#functions;
    const context = this.#context.pointer;
    const result =
      cmacInit(context, null, 0, null, null) &
      cmacUpdate(context, message, message.length) &
      cmacFinal(context, tag, length);
    must(this.#functions, result, 'CMAC');
  }

  close(): void {
    this.#context.close();
  }
}

/** AES-128-GMAC: GCM with nothing to encrypt and the message as additional data (RFC 4543). */
class OpenSslGmac implements Mac {
  readonly #functions: Functions;
  readonly #context: Context;

  constructor(functions: Functions, key: Buffer) {
    this.#functions = functions;
    this.#context = new Context(this, functions.cipherNew, functions.cipherFree);
    const type = functions.ciphers['aes-128-gcm'];
    must(functions, functions.encryptInit(this.#context.pointer, type, null, key, null), 'a GMAC key');
  }

  compute(message: Buffer, nonce: Buffer, tag: Buffer): void {
    const { encryptInit, encryptUpdate, encryptFinal, control } = this.#functions;
    const context = this.#context.pointer;
    const result =
      encryptInit(context, null, null, null, nonce) &
      encryptUpdate(context, null, length, message, message.length) &
      encryptFinal(context, finalBlock, length) &
      control(context, CTRL_GET_TAG, TAG_SIZE, tag);
    must(this.#functions, result, 'GMAC');
  }

  close(): void {
    this.#context.close();
  }
}

/** One context a direction, made when first needed: an SMB session uses each key one way. */
abstract class OpenSslAead implements Aead {
  protected readonly functions: Functions;
  protected readonly facts: CipherFacts;
  readonly #key: Buffer;
  #encrypting: Context | undefined;
  #decrypting: Context | undefined;

  constructor(functions: Functions, facts: CipherFacts, key: Buffer) {
    this.functions = functions;
    this.facts = facts;
    this.#key = Buffer.from(key);
  }

  protected encryptContext(): Pointer {
    this.#encrypting ??= this.#keyed(this.functions.encryptInit);
    return this.#encrypting.pointer;
  }

  protected decryptContext(): Pointer {
    this.#decrypting ??= this.#keyed(this.functions.decryptInit);
    return this.#decrypting.pointer;
  }

  #keyed(init: Call): Context {
    const { cipherNew, cipherFree, ciphers, control } = this.functions;
    const context = new Context(this, cipherNew, cipherFree);
    const pointer = context.pointer;
    // Length of nonce and tag belong to the key set-up of CCM: they come before the key.
    const result =
      init(pointer, ciphers[this.facts.name], null, null, null) &
      control(pointer, CTRL_SET_IVLEN, this.facts.nonceSize, null) &
      (this.facts.isCcm ? control(pointer, CTRL_SET_TAG, TAG_SIZE, null) : 1) &
      init(pointer, null, null, this.#key, null);
    must(this.functions, result, `a key of ${this.facts.name}`);
    return context;
  }

  abstract encrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): void;
  abstract decrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean;

  close(): void {
    this.#encrypting?.close();
    this.#decrypting?.close();
    this.#key.fill(0);
  }
}

class OpenSslGcm extends OpenSslAead {
  encrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): void {
    const { encryptInit, encryptUpdate, encryptFinal, control } = this.functions;
    const context = this.encryptContext();
    const result =
      encryptInit(context, null, null, null, nonce) &
      encryptUpdate(context, null, length, aad, aad.length) &
      encryptUpdate(context, data, length, data, data.length) &
      encryptFinal(context, finalBlock, length) &
      control(context, CTRL_GET_TAG, TAG_SIZE, tag);
    must(this.functions, result, 'to encrypt with GCM');
  }

  decrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean {
    const { decryptInit, decryptUpdate, decryptFinal, control, clearErrors } = this.functions;
    const context = this.decryptContext();
    const result =
      decryptInit(context, null, null, null, nonce) &
      decryptUpdate(context, null, length, aad, aad.length) &
      decryptUpdate(context, data, length, data, data.length) &
      control(context, CTRL_SET_TAG, TAG_SIZE, tag);
    must(this.functions, result, 'to decrypt with GCM');
    if (decryptFinal(context, finalBlock, length) === 1) return true;
    clearErrors();
    return false;
  }
}

class OpenSslCcm extends OpenSslAead {
  encrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): void {
    const { encryptInit, encryptUpdate, control } = this.functions;
    const context = this.encryptContext();
    // CCM wants the size of the text before anything else, and is done with the text: it has no final step.
    const result =
      encryptInit(context, null, null, null, nonce) &
      encryptUpdate(context, null, length, null, data.length) &
      encryptUpdate(context, null, length, aad, aad.length) &
      encryptUpdate(context, data, length, data, data.length) &
      control(context, CTRL_GET_TAG, TAG_SIZE, tag);
    must(this.functions, result, 'to encrypt with CCM');
  }

  decrypt(nonce: Buffer, aad: Buffer, data: Buffer, tag: Buffer): boolean {
    const { decryptInit, decryptUpdate, control, clearErrors } = this.functions;
    const context = this.decryptContext();
    const result =
      decryptInit(context, null, null, null, nonce) &
      control(context, CTRL_SET_TAG, TAG_SIZE, tag) &
      decryptUpdate(context, null, length, null, data.length) &
      decryptUpdate(context, null, length, aad, aad.length);
    must(this.functions, result, 'to decrypt with CCM');
    if (decryptUpdate(context, data, length, data, data.length) === 1) return true;
    clearErrors();
    return false;
  }
}
