import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { ChurningMap } from '../../common/churning-map.ts';
import { reasonOf } from '../../common/errors.ts';
import { Portions } from '../../common/portions.ts';
import { delay } from '../../common/time.ts';
import {
  type BreakAck,
  DrainReply,
  type DrainRequest,
  type HandlesServer,
  OplockLevel,
  Outcome,
  type Reply,
  type ReportOpens,
  type Request,
  type ServerFrame,
  type SidecarFrame,
} from '../../proto/generated/handles.ts';
import { LeaseState, MAX_ATTACHMENT_BYTES } from '../constants.ts';
import type { Lease } from '../fencing/lease.ts';
import { idBytes } from '../table/keys.ts';
import { StoreFullError, StoreUnavailableError } from '../table/store-errors.ts';
import type { ChangeFeed } from './changes.ts';
import type { Components } from './components.ts';
import type { Endings } from './endings.ts';
import type { Locks } from './locks.ts';
import type { Member, OwnOpen } from './member.ts';
import type { Opens } from './opens.ts';
import type { Ownership } from './ownership.ts';
import type { Pending } from './pending.ts';
import type { Registration } from './registration.ts';
import type { Renames } from './renames.ts';
import type { Sessions } from './sessions.ts';
import { FileServerStream } from './stream.ts';

export interface HandlesParts {
  components: Components;
  registration: Registration;
  lease: Lease;
  opens: Opens;
  endings: Endings;
  locks: Locks;
  ownership: Ownership;
  sessions: Sessions;
  renames: Renames;
  changes: ChangeFeed;
  drain(timeoutMs: number): Promise<DrainReply>;
  /** The last report of a resuming file server came. */
  reported(member: Member): void;
  /** A file server whose opens are known attached anew, and reports some that are not: they ended or went while it was not there. */
  reportedAgain(member: Member, opens: readonly OwnOpen[]): void;
}

type Body = NonNullable<Reply['body']>;
type Decided = { outcome: number; body?: Body };

/** Decisions that may take long are told to be under way after so long, so that the client hears of it. */
const INTERIM_AFTER_MS = 500;
/** As many as make a full call of the store (MOST_IN_BATCH): Redis decides about the first of many while the next are prepared. */
const REQUESTS_A_TURN = 32;
/** Opens that may be closed with one request. */
const MOST_CLOSES = 256;
const MAY_BE_INTERIM = new Set(['open', 'lock', 'reclaim', 'claimSession', 'breakReadCaching']);
const METRIC_NAMES = new Map(Object.entries(Outcome).map(([name, value]) => [value as number, name.toLowerCase()]));

const NO_BYTES = Buffer.alloc(0);

class PendingRequest implements Pending {
  readonly #stream: FileServerStream;
  readonly request: Request;
  /** Among all that came. */
  readonly place: number;
  #interim = false;
  cancelled = false;
  onCancel: (() => void) | undefined;
  readonly startedMs = performance.now();

  constructor(stream: FileServerStream, request: Request, place: number) {
    this.#stream = stream;
    this.place = place;
    this.request = request;
  }

  interim(): void {
    if (this.#interim) return;
    this.#interim = true;
    this.#stream.reply({ id: this.request.id, outcome: Outcome.OUTCOME_UNSPECIFIED, interim: true, body: undefined });
  }

  cancel(): void {
    this.cancelled = true;
    this.onCancel?.();
  }
}

/** The face towards the file servers of this pod: one stream each. */
export class HandlesService {
  readonly #is: HandlesParts;
  readonly #slow = new ChurningMap<number, PendingRequest>();
  #taken = 0;
  readonly #sweep: NodeJS.Timeout;
  readonly #counts = new Map<string, number[]>();

  constructor(parts: HandlesParts) {
    this.#is = parts;
    this.#sweep = setInterval(() => this.#tellSlow(), INTERIM_AFTER_MS / 2);
    const { decisions } = parts.components.metrics;
    // Counted in arrays on the way, and given to the registry when somebody asks.
    (decisions as unknown as { collect: () => void }).collect = () => {
      for (const [request, counts] of this.#counts) {
        counts.forEach((count, outcome) => {
          if (count > 0) decisions.labels(request, METRIC_NAMES.get(outcome) ?? 'other').inc(count);
        });
        counts.fill(0);
      }
    };
  }

  end(): void {
    clearInterval(this.#sweep);
  }

  implementation(): HandlesServer {
    const server: Omit<HandlesServer, keyof UntypedServiceImplementation> & UntypedServiceImplementation = {
      attach: (call: ServerDuplexStream<ServerFrame, SidecarFrame>) => this.#attach(call),
      drain: (call: { request: DrainRequest }, callback: (error: Error | null, reply?: DrainReply) => void) => {
        this.#is.drain(call.request.timeoutMs || 55_000).then(
          (reply) => callback(null, reply),
          (error: unknown) => callback(null, DrainReply.create({ message: reasonOf(error) })),
        );
      },
    };
    return server as HandlesServer;
  }

  #attach(call: ServerDuplexStream<ServerFrame, SidecarFrame>): void {
    const stream = new FileServerStream(call);
    const pendings = new ChurningMap<bigint, PendingRequest>();
    let member: Member | undefined;
    let isLost = false;
    const lost = () => {
      if (isLost) return;
      isLost = true;
      stream.end();
      portions.clear(); // the file server asks again
      for (const pending of pendings.values()) pending.cancel();
      if (member?.stream === stream) {
        member.stream = undefined;
        this.#is.components.log.info({ server: member.owner }, 'the stream of a file server ended');
        this.#is.lease.streamLost(member);
      }
    };
    const take = (pending: PendingRequest): void => {
      const { request } = pending;
      if (stream.ended) return; // another one took its place: what was not answered comes again through that
      const decided =
        request.body?.$case === 'hello'
          ? this.#is.registration.hello(request.body.value, stream).then((result): Decided => {
              member = result.member;
              if (member) this.#is.changes.attached(member);
              if (member?.isSettling && member.reportsExpected === 0) this.#is.reported(member); // it holds nothing
              return {
                outcome: result.outcome,
                ...(result.reply ? { body: { $case: 'hello', value: result.reply } } : {}),
              };
            })
          : this.#decide(member, request, pending);
      const answered = ({ outcome, body }: Decided): void => {
        pendings.delete(request.id);
        this.#slow.delete(pending.place);
        if (outcome === Outcome.FENCED && member && !member.over) void this.#checkFenced(member);
        this.#count(request.body?.$case ?? 'none', outcome);
        stream.reply({ id: request.id, outcome: outcome as Outcome, interim: false, body });
      };
      decided.then(answered, (error: unknown) => answered(this.#failed(request, error)));
    };
    const portions = new Portions(REQUESTS_A_TURN, take);
    call.on('data', (frame: ServerFrame) => {
      for (const answer of frame.answers) stream.answered(answer);
      const arrived: PendingRequest[] = [];
      for (const request of frame.requests) {
        if (request.body?.$case === 'cancel') {
          pendings.get(request.body.value.requestId)?.cancel();
          continue;
        }
        if (request.body?.$case === 'heartbeat') {
          if (member && !member.over) this.#is.lease.heartbeat(member);
          if (member) member.troubles = request.body.value.troubles;
          continue;
        }
        const pending = new PendingRequest(stream, request, this.#taken++);
        pendings.set(request.id, pending);
        if (request.body && MAY_BE_INTERIM.has(request.body.$case)) this.#slow.set(pending.place, pending);
        arrived.push(pending);
      }
      portions.push(arrived);
    });
    call.on('end', lost);
    call.on('error', lost);
    call.on('close', lost);
  }

  async #decide(member: Member | undefined, request: Request, pending: Pending): Promise<Decided> {
    const { opens, endings, locks, ownership, sessions, renames, components } = this.#is;
    const { body } = request;
    if (!member || !body) return { outcome: Outcome.INVALID };
    if (member.over) return { outcome: Outcome.FENCED };
    switch (body.$case) {
      case 'open': {
        const { record, lookedUpMs } = body.value;
        if (!record) return { outcome: Outcome.INVALID };
        const decided = await renames.opening(record, lookedUpMs, () => opens.open(member, body.value, pending));
        return decided ? openReply(decided) : { outcome: Outcome.NAME_BUSY };
      }
      case 'close': {
        const { outcome, close } = await endings.close(member, body.value.fileId, body.value.openId);
        return { outcome, body: { $case: 'close', value: close } };
      }
      case 'closeOpens': {
        const { closes } = body.value;
        if (closes.length > MOST_CLOSES) return { outcome: Outcome.INVALID };
        const { outcome, closed } = await endings.closeAll(member, closes, (each) => this.#count('close', each));
        return { outcome, body: { $case: 'closedOpens', value: { closed } } };
      }
      case 'disconnect': {
        const { outcome, close } = await endings.disconnect(
          member,
          body.value.fileId,
          body.value.openId,
          body.value.attachment,
        );
        return { outcome, body: { $case: 'close', value: close } };
      }
      case 'findCreate':
        return openReply(await opens.find(member, body.value));
      case 'reclaim':
        return openReply(await ownership.reclaim(member, body.value, pending));
      case 'reserve':
        return reserveReply(await opens.reserveName(member, 'reserve', body.value, { id: request.id, pending }));
      case 'resumeCreation':
        return reserveReply(await opens.reserveName(member, 'resume', body.value, { id: request.id, pending }));
      case 'dropReservation':
        await opens.dropName(member, body.value.directoryId, body.value.name);
        return { outcome: Outcome.GRANTED };
      case 'lock':
        return stateReply(await locks.lock(member, body.value, pending));
      case 'lockedFiles':
        return stateReply(await locks.look(member, body.value.fileId));
      case 'breakReadCaching':
        return stateReply(await locks.breakReadCaching(member, body.value.fileId, body.value.openId, pending));
      case 'breakDirectory':
        return { outcome: await locks.breakDirectory(member, body.value) };
      case 'breakAck':
        return acknowledge(member, body.value, components);
      case 'setDeletePending': {
        const { fileId, openId, pending: set } = body.value;
        const what = body.value.onClose ? 'deleteOnClose' : 'deletePending';
        const { outcome } = await components.breaks.settled(member, fileId, pending, (again) =>
          components.table.change(member.identity, fileId, openId, what, set ? 1 : 0, again),
        );
        const open = member.opens.get(openId);
        if (open && outcome === Outcome.GRANTED) {
          if (what === 'deleteOnClose') open.record.deleteOnClose = set;
          else open.record.deletePending = set;
        }
        return { outcome };
      }
      case 'updateOpen': {
        const { fileId, openId, attachment, resilientTimeoutMs, sessionId } = body.value;
        if (resilientTimeoutMs)
          return { outcome: await opens.makeResilient(member, fileId, openId, resilientTimeoutMs, sessionId) };
        if (!attachment || attachment.length > MAX_ATTACHMENT_BYTES) return { outcome: Outcome.INVALID };
        const { outcome } = await components.table.change(
          member.identity,
          fileId,
          openId,
          'attachment',
          Buffer.from(attachment),
        );
        const open = member.opens.get(openId);
        if (open && outcome === Outcome.GRANTED) open.record.attachment = attachment;
        return { outcome };
      }
      case 'fileGone':
        return {
          outcome: await components.table.gone(
            member.identity,
            body.value.fileId,
            body.value.ahead ? 'replace' : 'gone',
          ),
        };
      case 'beginRename':
        return { outcome: await renames.begin(member, body.value, pending) };
      case 'endRename':
        return { outcome: await renames.end(member, body.value) };
      case 'storeSession':
        return { outcome: await sessions.store(member, body.value) };
      case 'endSession':
        return { outcome: await sessions.end(member, body.value.sessionId) };
      case 'claimSession':
        return { outcome: await sessions.claim(member, body.value, pending) };
      case 'quiesced':
        if (member.opens.has(body.value.openId)) member.unfinished.returned(body.value.openId);
        return { outcome: Outcome.GRANTED };
      case 'watch':
        return { outcome: await this.#is.changes.watch(member, body.value.scopes) };
      case 'changes':
        return { outcome: this.#is.changes.tell(member, body.value.changes, body.value.lost) };
      case 'reportOpens':
        this.#report(member, body.value);
        return { outcome: Outcome.GRANTED };
      default:
        return { outcome: Outcome.INVALID };
    }
  }

  /** What a file server holds after this sidecar was restarted. */
  #report(member: Member, { opens, states }: ReportOpens): void {
    this.#is.lease.heartbeat(member); // it sends none before all is reported
    const wasSettling = member.isSettling;
    const before = member.reportsExpected;
    const added = member.report(opens, states);
    if (!wasSettling) this.#is.reportedAgain(member, added);
    else if (before > 0 && member.reportsExpected === 0) this.#is.reported(member);
  }

  #failed(request: Request, error: unknown): Decided {
    const { log } = this.#is.components;
    if (error instanceof StoreFullError) return { outcome: Outcome.TOO_MANY };
    if (!(error instanceof StoreUnavailableError))
      log.error({ err: error, request: request.body?.$case }, 'a decision failed');
    return { outcome: Outcome.STORE_UNAVAILABLE };
  }

  /** A script refused this server: the registry has the last word, and tells it to all. */
  async #checkFenced(member: Member): Promise<void> {
    await delay(0);
    await this.#is.lease.renew(member);
  }

  #tellSlow(): void {
    const beforeMs = performance.now() - INTERIM_AFTER_MS;
    for (const pending of this.#slow.values()) {
      if (pending.startedMs > beforeMs) break; // in the order in which they came
      pending.interim();
      this.#slow.delete(pending.place);
    }
  }

  #count(request: string, outcome: number): void {
    let counts = this.#counts.get(request);
    if (!counts) {
      counts = new Array<number>(32).fill(0);
      this.#counts.set(request, counts);
    }
    const index = outcome >= 0 && outcome < 32 ? outcome : 0;
    counts[index] = (counts[index] ?? 0) + 1;
  }
}

const ANY = LeaseState.READ | LeaseState.HANDLE | LeaseState.WRITE;
/** The state of a lease that an oplock of this level is like. */
const OPLOCK_STATES: Partial<Record<OplockLevel, number>> = {
  [OplockLevel.OPLOCK_NONE]: 0,
  [OplockLevel.OPLOCK_LEVEL_II]: LeaseState.READ,
};

/** MS-SMB2 3.3.5.22.1 (oplocks), 3.3.5.22.2 (leases). What is answered is what is cached now. */
async function acknowledge(member: Member, ack: BreakAck, { breaks, delivery }: Components): Promise<Decided> {
  const { fileId, openId, level, lease, clientGuid } = ack;
  const cached = lease ? lease.state : (OPLOCK_STATES[level] ?? ANY);
  if (fileId.length === 0 || (lease && (lease.key.length !== 16 || clientGuid.length !== 16 || cached > 7))) {
    return { outcome: Outcome.INVALID };
  }
  const holder = lease ? Buffer.concat([clientGuid, lease.key]) : idBytes(openId);
  const decision = await breaks.acknowledge(member, fileId, holder, cached);
  const now = { state: decision.cached, epoch: decision.epoch, version: lease?.version ?? 0, breaking: false };
  const value = { key: lease?.key ?? NO_BYTES, parentKey: NO_BYTES, ...now };
  // On its way before the answer: what is left of an oplock may not keep this open's own changes from asking.
  if (decision.state && member.hasFile(fileId)) void delivery.pushToMember(member, decision.state);
  return { outcome: decision.outcome, body: { $case: 'lease', value } };
}

function openReply({ outcome, reply }: Awaited<ReturnType<Opens['open']>>): Decided {
  return reply ? { outcome, body: { $case: 'open', value: reply } } : { outcome };
}

function reserveReply({ outcome, elsewhere }: Awaited<ReturnType<Opens['reserveName']>>): Decided {
  return outcome === Outcome.GRANTED ? { outcome, body: { $case: 'reserved', value: { elsewhere } } } : { outcome };
}

function stateReply({ outcome, state }: Awaited<ReturnType<Locks['lock']>>): Decided {
  return state ? { outcome, body: { $case: 'fileState', value: state } } : { outcome };
}
