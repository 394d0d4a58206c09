// Which library to use: OpenSSL through koffi where it is there and gives what node:crypto gives, else node:crypto.
import { CipherId, SigningAlgorithmId } from '../constants.ts';
import { nodeProvider } from './node-provider.ts';
import { openSslProvider } from './openssl-provider.ts';
import { type Provider, TAG_SIZE } from './provider.ts';

let chosen: Provider | undefined;

/** The provider of this process, found at the first call. */
export function defaultProvider(): Provider {
  chosen ??= choose();
  return chosen;
}

function choose(): Provider {
  try {
    const openssl = openSslProvider();
    return agree(openssl, nodeProvider) ? openssl : nodeProvider;
  } catch {
    // A node executable that does not export OpenSSL, or a machine that koffi has no build for: slower, nothing else.
    return nodeProvider;
  }
}

/** Whether both give the same for every algorithm, twice with one key (contexts are kept), and refuse a wrong tag. */
export function agree(one: Provider, other: Provider): boolean {
  const message = Buffer.alloc(100, 'holdfast');
  const aad = message.subarray(0, 32);
  const twice = [0, 1];
  const macsAgree = Object.values(SigningAlgorithmId).every((algorithm) => {
    const results = [one, other].map((provider) => {
      const mac = provider.mac(algorithm, Buffer.alloc(16, 1));
      const tags = twice.map((round) => {
        const tag = Buffer.alloc(TAG_SIZE);
        mac.compute(message, Buffer.alloc(12, round), tag);
        return tag.toString('hex');
      });
      mac.close();
      return tags.join();
    });
    return results[0] === results[1];
  });
  return (
    macsAgree &&
    Object.values(CipherId).every((cipherId) => {
      const key = Buffer.alloc(cipherId >= CipherId.AES_256_CCM ? 32 : 16, 2);
      const nonceSize = cipherId % 2 === 1 ? 11 : 12;
      const [a, b] = [one.aead(cipherId, key), other.aead(cipherId, key)];
      const same = twice.every((round) => {
        const nonce = Buffer.alloc(nonceSize, round);
        const [textA, textB, tagA, tagB] = [
          Buffer.from(message),
          Buffer.from(message),
          Buffer.alloc(16),
          Buffer.alloc(16),
        ];
        a.encrypt(nonce, aad, textA, tagA);
        b.encrypt(nonce, aad, textB, tagB);
        const alike = textA.equals(textB) && tagA.equals(tagB);
        const opens = a.decrypt(nonce, aad, textA, tagA) && textA.equals(message);
        tagB[0] = (tagB[0] ?? 0) ^ 1;
        return alike && opens && !a.decrypt(nonce, aad, textB, tagB);
      });
      a.close();
      b.close();
      return same;
    })
  );
}
