import { type Span, type TraceRequest, type Tracer, traceIdOf } from '../../common/tracing.ts';
import type { HandleMigration } from '../../crds/generated/handlemigration.ts';

/** The trace of one try of a migration: the whole, and its steps one after the other. */
export class MigrationTrace {
  readonly traceId: string;
  readonly #tracer: Tracer;
  readonly #whole: Span;
  readonly #about: Record<string, string>;
  #step: Span | undefined;
  #ended = false;

  constructor(tracer: Tracer, { metadata, spec }: HandleMigration) {
    this.traceId = traceIdOf(metadata.uid ?? '');
    this.#tracer = tracer;
    this.#whole = tracer.start('migration', this.traceId);
    this.#about = {
      namespace: metadata.namespace ?? '',
      migration: metadata.name ?? '',
      cluster: spec.cluster,
      source: spec.source,
      reason: spec.reason,
    };
  }

  /** Ends the step before, and begins one. */
  step(name: string): void {
    this.#step?.end();
    this.#step = this.#tracer.start(name, this.traceId, this.#whole);
  }

  /** What the source is asked for: its spans, as part of the step. */
  get request(): TraceRequest | undefined {
    return this.#tracer.request(this.#step ?? this.#whole);
  }

  /** Something that the source said. */
  event(name: string, counts: Record<string, number>): void {
    this.#step?.event(name, counts);
  }

  /** Counts once: an error may follow an outcome. @param failure why not everything has moved */
  end(failure?: string): void {
    this.#step?.end({}, failure);
    this.#step = undefined;
    if (!this.#ended) this.#whole.end(this.#about, failure);
    this.#ended = true;
  }
}
