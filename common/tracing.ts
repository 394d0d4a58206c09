import { createHash, randomBytes } from 'node:crypto';

const EXPORT_EVERY_MS = 1000;
const EXPORT_TIMEOUT_MS = 5000;
/** Spans that wait to be sent; beyond, new ones are dropped: a collector that is away costs no memory. */
const MOST_WAITING = 2048;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

/**
 * The trace of a migration, 32 hex digits. It follows from the migration's id, which every process that has a part in it knows: the UID
 * of its HandleMigration, which is as long as a trace id.
 */
export function traceIdOf(migrationId: string): string {
  const [uuid] = UUID.exec(migrationId) ?? [];
  return uuid === undefined
    ? createHash('sha256').update(migrationId).digest('hex').slice(0, 32)
    : uuid.replaceAll('-', '');
}

type Attributes = Record<string, string | number>;

export interface SpanContext {
  traceId: string;
  spanId: string;
}

/** What a process asks another for along with a request: its spans, as part of one of ours. In proto/handles.proto, as Trace. */
export interface TraceRequest {
  /** Base URL of a collector. */
  endpoint: string;
  traceId: string;
  parentSpanId: string;
}

/** Something that takes time. Ended once; what is never ended is never sent. */
export class Span implements SpanContext {
  readonly traceId: string;
  readonly spanId = randomBytes(8).toString('hex');
  readonly #name: string;
  readonly #parentId: string | undefined;
  readonly #send: (span: object) => void;
  readonly #startNs = nowNs();
  readonly #events: object[] = [];

  constructor(name: string, traceId: string, parentId: string | undefined, send: (span: object) => void) {
    this.#name = name;
    this.traceId = traceId;
    this.#parentId = parentId;
    this.#send = send;
  }

  /** A moment within it. */
  event(name: string, attributes: Attributes = {}): void {
    this.#events.push({ timeUnixNano: nowNs(), name, attributes: attributesOf(attributes) });
  }

  /** @param failure why it did not do what it was for */
  end(attributes: Attributes = {}, failure?: string): void {
    this.#send({
      traceId: this.traceId,
      spanId: this.spanId,
      ...(this.#parentId === undefined ? {} : { parentSpanId: this.#parentId }),
      name: this.#name,
      kind: 1, // internal
      startTimeUnixNano: this.#startNs,
      endTimeUnixNano: nowNs(),
      attributes: attributesOf(attributes),
      events: this.#events,
      status: failure === undefined ? { code: 1 } : { code: 2, message: failure },
    });
  }
}

/** Sends spans to an OpenTelemetry collector (OTLP over HTTP, JSON). Without an endpoint it does nothing. */
export class Tracer {
  readonly #resource: object;
  readonly #endpoint: string | undefined;
  readonly #failed: (error: unknown) => void;
  #waiting: object[] = [];
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param service the name that traces show
   * @param endpoint base URL of the collector, as OTEL_EXPORTER_OTLP_ENDPOINT has it
   * @param failed told when spans could not be sent; they are lost
   * @param instance which of several it is
   */
  constructor(
    service: string,
    endpoint: string | undefined,
    failed: (error: unknown) => void = () => undefined,
    instance?: string,
  ) {
    const names = { 'service.name': service, ...(instance === undefined ? {} : { 'service.instance.id': instance }) };
    this.#resource = { attributes: attributesOf(names) };
    this.#endpoint = endpoint?.replace(/\/$/, '') || undefined;
    this.#failed = failed;
  }

  start(name: string, traceId: string, parent?: SpanContext): Span {
    return new Span(name, traceId, parent?.spanId, (span) => this.#add(span));
  }

  /** Base URL of the collector; undefined: nothing is sent. */
  get endpoint(): string | undefined {
    return this.#endpoint;
  }

  /** To be sent along with what is asked of another process. @param parent the span that its spans are part of */
  request({ traceId, spanId }: SpanContext): TraceRequest | undefined {
    return this.#endpoint === undefined ? undefined : { endpoint: this.#endpoint, traceId, parentSpanId: spanId };
  }

  /** Sends what waits. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const spans = this.#waiting;
    this.#waiting = [];
    if (this.#endpoint === undefined || spans.length === 0) return;
    const scopeSpans = [{ scope: { name: 'holdfast' }, spans }];
    const body = { resourceSpans: [{ resource: this.#resource, scopeSpans }] };
    const url = `${this.#endpoint}/v1/traces`;
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(EXPORT_TIMEOUT_MS),
      });
      await answer.arrayBuffer();
      if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
    } catch (error) {
      this.#failed(error);
    }
  }

  #add(span: object): void {
    if (this.#endpoint === undefined || this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push(span);
    this.#timer ??= setTimeout(() => void this.flush(), EXPORT_EVERY_MS).unref();
  }
}

/** Wall clock: traces of several machines are laid side by side. */
function nowNs(): string {
  return `${Math.round((performance.timeOrigin + performance.now()) * 1000)}000`;
}

function attributesOf(attributes: Attributes): object[] {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { doubleValue: value } : { stringValue: value },
  }));
}
