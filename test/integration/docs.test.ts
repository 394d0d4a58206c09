import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const ROOT = join(import.meta.dirname, '../..');
const LINK = /(?<!!)\[(?:[^\][]|\[[^\]]*\])*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)/g;

const pages = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(ROOT, path)));

/** The text without blocks and spans of code, in which nothing is a link. */
function prose(path: string): string {
  const text = readFileSync(join(ROOT, path), 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  const lines = text
    .split('\n')
    .filter((line, i, all) => !(/^( {4}|\t)/.test(line) && !/^\s*([-*]|\d+\.) /.test(all[i - 1] ?? '')));
  return lines.join('\n').replace(/`[^`\n]*`/g, '');
}

/** Ids of headings, as GitHub and the site make them: lower case, no punctuation, "-" for blanks. */
function anchorsOf(path: string): Set<string> {
  const headings = readFileSync(join(ROOT, path), 'utf8').matchAll(/^#{1,6} (.+)$/gm);
  const ids = [...headings].map(([, heading = '']) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- _]/gu, '')
      .trim()
      .replace(/ /g, '-'),
  );
  return new Set(ids);
}

function brokenLinks(page: string): string[] {
  return [...prose(page).matchAll(LINK)].flatMap(([, link, picture]) => {
    const target = link ?? picture ?? '';
    if (/^(https?|mailto):/.test(target)) return [];
    const [file = '', anchor] = target.split('#');
    const path = file === '' ? page : relative(ROOT, join(ROOT, dirname(page), file));
    if (!existsSync(join(ROOT, path))) return [`${target}: there is no ${path}`];
    if (anchor === undefined) return [];
    if (statSync(join(ROOT, path)).isDirectory() || !path.endsWith('.md')) return [];
    return anchorsOf(path).has(anchor) ? [] : [`${target}: ${path} has no heading for #${anchor}`];
  });
}

describe('documentation', () => {
  test.each(pages)('%s leads nowhere that is not there', (page) => expect(brokenLinks(page)).toEqual([]));

  test('every page can be reached from the first', () => {
    const reached = new Set<string>();
    const visit = (page: string): void => {
      if (reached.has(page) || !existsSync(join(ROOT, page))) return;
      reached.add(page);
      for (const [, link = ''] of prose(page).matchAll(LINK)) {
        const [file = ''] = link.split('#');
        if (file.endsWith('.md') && !/^https?:/.test(file)) visit(relative(ROOT, join(ROOT, dirname(page), file)));
      }
    };
    visit('docs/index.md');
    const lost = pages.filter((page) => /^docs\/(?!decisions\/\d)/.test(page) && !reached.has(page));
    expect(lost).toEqual([]);
  });

  test('every page of the first folder is in the sidebar of the site', () => {
    const config = readFileSync(join(ROOT, 'docs/.vitepress/config.mjs'), 'utf8');
    for (const page of pages.filter((path) => /^docs\/[^/]+\.md$/.test(path) && path !== 'docs/index.md')) {
      expect([page, config.includes(`'/${page.slice(5, -3)}'`)]).toEqual([page, true]);
    }
  });
});
