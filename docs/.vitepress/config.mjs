// The documentation as a site: `make docs` builds it into build/docs.
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const docs = dirname(dirname(fileURLToPath(import.meta.url)));
const page = (text, link) => ({ text, link });
const pagesOf = (folder) =>
  readdirSync(join(docs, folder))
    .filter((file) => file.endsWith('.md') && file !== 'README.md')
    .map((file) => page(file.replace(/\.md$/, ''), `/${folder}/${file.replace(/\.md$/, '')}`));

export default {
  title: 'Holdfast',
  description: 'SMB3 file servers on Kubernetes whose open files survive the pod',
  outDir: '../build/docs',
  cacheDir: '../build/docs-cache',
  cleanUrls: true,
  rewrites: { ':folder/README.md': ':folder/index.md' },
  srcExclude: ['model/counterexamples/**'],
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    sidebar: [
      {
        text: 'Begin',
        items: [page('Install', '/install'), page('Five minutes', '/quickstart'), page('Connect', '/connect')],
      },
      {
        text: 'Plan',
        items: [
          page('Volumes', '/volumes'),
          page('Sizing', '/sizing'),
          page('Limits', '/limits'),
          page('Security', '/security'),
          page('Permissions', '/permissions'),
          page('State store', '/store'),
        ],
      },
      {
        text: 'Operate',
        items: [
          page('Upgrade', '/upgrade'),
          page('Moving handles', '/migrations'),
          page('Backup', '/backup'),
          page('Metrics and alerts', '/metrics'),
          page('Commands', '/commands'),
          page('When things fail', '/failure-modes'),
          page('Troubleshooting', '/troubleshooting'),
        ],
      },
      { text: 'Runbooks', collapsed: true, items: [page('Alerts', '/runbooks/'), ...pagesOf('runbooks')] },
      {
        text: 'Look up',
        items: [
          page('API reference', '/api'),
          page('Architecture', '/architecture'),
          page('Performance', '/performance'),
          page('Conformance', '/conformance'),
          page('The model', '/model/'),
        ],
      },
      { text: 'Decisions', collapsed: true, items: [page('About', '/decisions/'), ...pagesOf('decisions')] },
    ],
  },
  markdown: {
    config(markdown) {
      withFramedCode(markdown);
      withoutLinksIntoTheCode(markdown);
    },
  },
};

/** Blocks of code that are indented look like those between fences. */
function withFramedCode(markdown) {
  markdown.core.ruler.push('with-framed-code', ({ tokens }) => {
    for (const token of tokens) {
      if (token.type !== 'code_block') continue;
      Object.assign(token, { type: 'fence', markup: '```', info: 'sh' });
    }
  });
}

/** Pages name tests and sources by links that lead out of docs/: on the site they are names, for a site has no sources. */
function withoutLinksIntoTheCode(markdown) {
  const leaves = (href, env) => {
    if (!/^\.\.?\//.test(href) && !/^[\w-]+(\/|\.\w+(#|$))/.test(href)) return false;
    const from = dirname(env.relativePath ?? '');
    return join(from, href.split('#')[0]).startsWith('..') || /\.pml$/.test(href);
  };
  markdown.core.ruler.push('without-links-into-the-code', ({ tokens, env }) => {
    for (const { children } of tokens) {
      let left = false;
      for (const token of children ?? []) {
        if (token.type === 'link_open' && leaves(token.attrGet('href') ?? '', env)) {
          left = true;
          token.type = 'code_reference_open';
        } else if (token.type === 'link_close' && left) {
          left = false;
          token.type = 'code_reference_close';
        }
      }
    }
  });
  markdown.renderer.rules.code_reference_open = () => '<em>';
  markdown.renderer.rules.code_reference_close = () => '</em>';
}
