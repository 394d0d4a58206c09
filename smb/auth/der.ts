import { WireError } from '../wire/errors.ts';

/** One element: its tag byte and its contents, both views. */
export interface DerElement {
  tag: number;
  contents: Buffer;
  /** Tag, length and contents as received. */
  whole: Buffer;
}

/** Tags that SPNEGO uses. */
export const DerTag = {
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  generalString: 0x1b,
  sequence: 0x30,
  application0: 0x60,
} as const;

/** Tag of the context-specific, constructed element [n]. */
export const contextTag = (n: number): number => 0xa0 | n;

/**
 * Reads the element at `at`. Definite lengths of up to four bytes; not minimal ones are accepted, as Windows has always done.
 * Throws WireError.
 */
export function readDer(buffer: Buffer, at: number): { element: DerElement; next: number } {
  const tag = buffer[at];
  const first = buffer[at + 1];
  if (tag === undefined || first === undefined) throw new WireError('DER: element is cut off');
  if ((tag & 0x1f) === 0x1f) throw new WireError('DER: tag of several bytes');
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    const lengthBytes = first & 0x7f;
    if (lengthBytes === 0 || lengthBytes > 4) throw new WireError(`DER: length of ${lengthBytes} bytes`);
    if (start + lengthBytes > buffer.length) throw new WireError('DER: length is cut off');
    length = buffer.readUIntBE(start, lengthBytes);
    start += lengthBytes;
  }
  const next = start + length;
  if (next > buffer.length) throw new WireError('DER: element reaches beyond its parent');
  return { element: { tag, contents: buffer.subarray(start, next), whole: buffer.subarray(at, next) }, next };
}

/** Reads the only element of `buffer`, which must have that tag. Throws WireError. */
export function readOnly(buffer: Buffer, tag: number, what: string): DerElement {
  const { element, next } = readDer(buffer, 0);
  if (element.tag !== tag || next !== buffer.length) throw new WireError(`DER: ${what} expected`);
  return element;
}

/** Reads all elements of `contents`, at most `maximum`. Throws WireError. */
export function readAll(contents: Buffer, maximum: number): DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at < contents.length; ) {
    if (elements.length === maximum) throw new WireError(`DER: more than ${maximum} elements`);
    const { element, next } = readDer(contents, at);
    elements.push(element);
    at = next;
  }
  return elements;
}

/** Encodes one element. */
export function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  const head = [tag];
  if (length < 0x80) head.push(length);
  else if (length < 0x100) head.push(0x81, length);
  else if (length < 0x10000) head.push(0x82, length >> 8, length & 0xff);
  else head.push(0x83, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff);
  return Buffer.concat([Buffer.from(head), ...contents]);
}
