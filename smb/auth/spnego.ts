import { WireError } from '../wire/errors.ts';
import { contextTag, type DerElement, DerTag, der, readAll, readDer, readOnly } from './der.ts';

/** Object identifiers, as the contents of their DER encoding. */
export const Mech = {
  /** 1.3.6.1.5.5.2 */
  spnego: Buffer.from('2b0601050502', 'hex'),
  /** 1.3.6.1.4.1.311.2.2.10 */
  ntlmssp: Buffer.from('2b06010401823702020a', 'hex'),
  /** 1.2.840.113554.1.2.2 */
  kerberos: Buffer.from('2a864886f712010202', 'hex'),
  /** 1.2.840.48018.1.2.2, the same with the mistake of Windows 2000 */
  msKerberos: Buffer.from('2a864882f712010202', 'hex'),
  /** 1.3.6.1.4.1.311.2.2.30 */
  negoex: Buffer.from('2b06010401823702021e', 'hex'),
} as const;

/** negState (RFC 4178 4.2.2). */
export const NegState = { acceptCompleted: 0, acceptIncomplete: 1, reject: 2, requestMic: 3 } as const;

/** The hint that a server's NegTokenInit2 carries (MS-SPNG 3.2.5.2); receivers ignore it. */
export const ignoredHint = 'not_defined_in_RFC4178@please_ignore';

/** NegTokenInit (RFC 4178 4.2.1) or NegTokenInit2 (MS-SPNG 2.2.1). */
export interface NegTokenInit {
  kind: 'init';
  mechTypes: Buffer[];
  /** MechTypeList as received, which mechListMIC covers. */
  mechTypesDer: Buffer;
  mechToken: Buffer | undefined;
  mechListMic: Buffer | undefined;
}

/** NegTokenResp (RFC 4178 4.2.2). */
export interface NegTokenResp {
  kind: 'resp';
  negState: number | undefined;
  supportedMech: Buffer | undefined;
  responseToken: Buffer | undefined;
  mechListMic: Buffer | undefined;
}

const maximumMechTypes = 32;

/** Decodes a token of either kind. Throws WireError. */
export function decodeSpnego(token: Buffer): NegTokenInit | NegTokenResp {
  const { element, next } = readDer(token, 0);
  if (next !== token.length) throw new WireError('SPNEGO: bytes behind the token');
  switch (element.tag) {
    case DerTag.application0: {
      const [mech, inner, ...rest] = readAll(element.contents, 2);
      if (mech?.tag !== DerTag.oid || !mech.contents.equals(Mech.spnego) || rest.length > 0) {
        throw new WireError('SPNEGO: not its object identifier');
      }
      if (inner?.tag !== contextTag(0)) throw new WireError('SPNEGO: NegTokenInit expected');
      return decodeInit(inner.contents);
    }
    case contextTag(0):
      return decodeInit(element.contents);
    case contextTag(1):
      return decodeResp(element.contents);
    default:
      throw new WireError(`SPNEGO: token starts with tag ${element.tag}`);
  }
}

/** The optional elements [0], [1] ... of the SEQUENCE in `buffer`, which must stand in ascending order. */
function sequenceFields(buffer: Buffer, what: string): Map<number, Buffer> {
  const fields = new Map<number, Buffer>();
  let previous = -1;
  for (const { tag, contents } of readAll(readOnly(buffer, DerTag.sequence, what).contents, 8)) {
    const number = tag - contextTag(0);
    if (number <= previous || number > 7) throw new WireError(`SPNEGO: ${what} with tag ${tag} out of order`);
    fields.set(number, contents);
    previous = number;
  }
  return fields;
}

function octets(field: Buffer | undefined, what: string): Buffer | undefined {
  return field === undefined ? undefined : readOnly(field, DerTag.octetString, what).contents;
}

function decodeInit(buffer: Buffer): NegTokenInit {
  const fields = sequenceFields(buffer, 'NegTokenInit');
  const list = fields.get(0);
  if (list === undefined) throw new WireError('SPNEGO: NegTokenInit without mechTypes');
  const mechTypes = readOnly(list, DerTag.sequence, 'MechTypeList');
  // [3] is mechListMIC in NegTokenInit and negHints (a SEQUENCE) in NegTokenInit2, which has mechListMIC at [4].
  const third = fields.get(3);
  const isInit2 = fields.has(4) || (third !== undefined && third[0] === DerTag.sequence);
  return {
    kind: 'init',
    mechTypes: readAll(mechTypes.contents, maximumMechTypes).map(oidContents),
    mechTypesDer: mechTypes.whole,
    mechToken: octets(fields.get(2), 'mechToken'),
    mechListMic: octets(isInit2 ? fields.get(4) : third, 'mechListMIC'),
  };
}

function oidContents({ tag, contents }: DerElement): Buffer {
  if (tag !== DerTag.oid || contents.length === 0) throw new WireError('SPNEGO: object identifier expected');
  return contents;
}

function decodeResp(buffer: Buffer): NegTokenResp {
  const fields = sequenceFields(buffer, 'NegTokenResp');
  const state = fields.get(0);
  const mech = fields.get(1);
  return {
    kind: 'resp',
    negState: state === undefined ? undefined : negStateOf(readOnly(state, DerTag.enumerated, 'negState').contents),
    supportedMech: mech === undefined ? undefined : oidContents(readOnly(mech, DerTag.oid, 'supportedMech')),
    responseToken: octets(fields.get(2), 'responseToken'),
    mechListMic: octets(fields.get(3), 'mechListMIC'),
  };
}

function negStateOf(contents: Buffer): number {
  const state = contents[0];
  if (contents.length !== 1 || state === undefined || state > NegState.requestMic) {
    throw new WireError('SPNEGO: unknown negState');
  }
  return state;
}

const optional = (number: number, value: Buffer | undefined): Buffer[] =>
  value === undefined ? [] : [der(contextTag(number), value)];

const optionalOctets = (number: number, value: Buffer | undefined): Buffer[] =>
  optional(number, value === undefined ? undefined : der(DerTag.octetString, value));

/** DER of a MechTypeList: what mechListMIC covers. */
export function encodeMechTypes(mechTypes: readonly Buffer[]): Buffer {
  return der(DerTag.sequence, ...mechTypes.map((mech) => der(DerTag.oid, mech)));
}

function encodeInitial(...fields: Buffer[]): Buffer {
  const body = der(contextTag(0), der(DerTag.sequence, ...fields));
  return der(DerTag.application0, der(DerTag.oid, Mech.spnego), body);
}

/** A client's first token. */
export function encodeNegTokenInit(token: {
  mechTypes: readonly Buffer[];
  mechToken?: Buffer | undefined;
  mechListMic?: Buffer | undefined;
}): Buffer {
  return encodeInitial(
    der(contextTag(0), encodeMechTypes(token.mechTypes)),
    ...optionalOctets(2, token.mechToken),
    ...optionalOctets(3, token.mechListMic),
  );
}

/** A server's unasked first token, which names the mechanisms it takes (MS-SPNG 2.2.1). */
export function encodeNegTokenInit2(mechTypes: readonly Buffer[]): Buffer {
  const hintName = der(contextTag(0), der(DerTag.generalString, Buffer.from(ignoredHint, 'latin1')));
  return encodeInitial(
    der(contextTag(0), encodeMechTypes(mechTypes)),
    der(contextTag(3), der(DerTag.sequence, hintName)),
  );
}

export function encodeNegTokenResp(token: {
  negState?: number | undefined;
  supportedMech?: Buffer | undefined;
  responseToken?: Buffer | undefined;
  mechListMic?: Buffer | undefined;
}): Buffer {
  const { negState, supportedMech } = token;
  return der(
    contextTag(1),
    der(
      DerTag.sequence,
      ...optional(0, negState === undefined ? undefined : der(DerTag.enumerated, Buffer.from([negState]))),
      ...optional(1, supportedMech === undefined ? undefined : der(DerTag.oid, supportedMech)),
      ...optionalOctets(2, token.responseToken),
      ...optionalOctets(3, token.mechListMic),
    ),
  );
}
