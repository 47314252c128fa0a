// noVNC in a browser without a screen: PORT PASSWORD TOOLS CHROMIUM FILE. Looks at the screen,
// types, clicks, saves what it sees, and presses Escape.
import { createServer } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { extname, join, normalize } from 'node:path';

const [port, password, tools, chromium, file] = process.argv.slice(2);
const { chromium: browsers } = createRequire(join(tools, 'x.js'))('playwright-core');
const novnc = join(tools, 'node_modules/@novnc/novnc');

const page = `<!doctype html><html><body style="margin:0"><div id="screen" style="width:800px;height:600px"></div>
<script type="module">
import RFB from '/core/rfb.js';
const rfb = new RFB(document.getElementById('screen'), 'ws://127.0.0.1:${port}', { credentials: { password: '${password}' } });
rfb.addEventListener('connect', () => { window.state = 'connected'; rfb.focus(); });
rfb.addEventListener('disconnect', event => { window.state = event.detail.clean ? 'left' : 'lost'; });
rfb.addEventListener('securityfailure', event => { window.state = 'refused ' + event.detail.reason; });
window.rfb = rfb;
</script></body></html>`;

const types = { '.js': 'text/javascript', '.html': 'text/html' };
const server = createServer(async (request, response) => {
    try {
        const path = normalize(new URL(request.url, 'http://localhost').pathname);
        const body = path === '/' ? page : await readFile(join(novnc, path));
        response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/html' });
        response.end(body);
    } catch {
        response.writeHead(404).end();
    }
});
await new Promise(ready => server.listen(0, '127.0.0.1', ready));

const browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'] });
try {
    const tab = await browser.newPage({ viewport: { width: 820, height: 620 } });
    tab.on('console', message => console.log('browser:', message.text()));
    tab.on('pageerror', error => console.log('browser:', error.message));
    await tab.goto(`http://127.0.0.1:${server.address().port}/`);
    await tab.waitForFunction(() => window.state !== undefined, null, { timeout: 60000 });
    const state = await tab.evaluate(() => window.state);
    if (state !== 'connected') throw new Error(`noVNC: ${state}`);
    await tab.waitForFunction(() => document.querySelector('canvas').width === 720, null, { timeout: 30000 });
    // As fingers do it: noVNC sends which key it is, not which letter.
    const keys = 'Shift+b r o w s e r Shift+; Space Shift+[ x Shift+]';
    for (const key of keys.split(' ')) {
        await tab.keyboard.press(key, { delay: 60 });
        await tab.waitForTimeout(80);
    }
    const box = await tab.locator('canvas').boundingBox();
    await tab.mouse.move(box.x + 100, box.y + 60);
    await tab.mouse.down();
    await tab.waitForTimeout(300);
    await tab.mouse.up();
    await tab.waitForTimeout(2000);
    const shot = await tab.evaluate(() => document.querySelector('canvas').toDataURL('image/png'));
    await writeFile(file, Buffer.from(shot.split(',')[1], 'base64'));
    await tab.screenshot({ path: file.replace('.png', '-page.png') });
    await tab.keyboard.press('Escape', { delay: 60 });
    await tab.waitForTimeout(500);
} finally {
    await browser.close();
    server.close();
}
