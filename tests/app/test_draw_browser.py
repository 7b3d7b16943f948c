"The page in a real Chromium: pen, finger and keyboard, ten digits in several hands, and nothing asked of anybody else."
import re,shutil
from base64 import b64decode,b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from drawn import Page,as_png,drawn,hands,home_with_models,lines,page

chromium = next(filter(None, map(shutil.which, ('chromium','chromium-browser','google-chrome'))), None)
if chromium is None: pytest.skip('there is no chromium here to draw in', allow_module_level=True)
sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')

flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    collect = tmp_path_factory.mktemp('collected')
    with page(home_with_models(tmp_path_factory), f'port=0, collect={str(collect)!r}') as p:
        p.collect = collect
        yield p

@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=flags)
        yield b
        b.close()

def wait_until(tab, words):
    "Ask again and again: the page's own rules let no text be run as code, so Playwright's wait_for_function may not."
    for _ in range(200):
        if tab.evaluate(words): return
        tab.wait_for_timeout(50)
    assert tab.evaluate(words), f'{words} was not so within ten seconds'

@pytest.fixture
def opened(browser, served):
    "Opens the page; afterwards nobody else was asked for anything, and nothing was complained about."
    contexts,asked,said = [],[],[]
    def open(path='/', **kwargs):
        usual = dict(viewport=dict(width=1180, height=900), reduced_motion='reduce')
        contexts.append(browser.new_context(**{**usual, **kwargs}))
        tab = contexts[-1].new_page()
        tab.on('request', lambda r: asked.append(r.url))
        tab.on('console', lambda m: said.append(m.text))
        tab.on('pageerror', lambda e: said.append(str(e)))
        tab.goto(served.url + path)
        return tab
    open.asked,open.said = asked,said
    yield open
    for c in contexts: c.close()
    assert asked and not [o for o in asked if not o.startswith(f'{served.url}/')], asked
    assert not said, said

def box_of(tab):
    tab.locator('#paper').scroll_into_view_if_needed()
    return tab.locator('#paper').bounding_box()

def draw(tab, strokes):
    "With the mouse."
    b = box_of(tab)
    for s in strokes:
        at = [(b['x']+x*b['width'], b['y']+y*b['height']) for x,y in s]
        tab.mouse.move(*at[0])
        tab.mouse.down()
        for o in at[2::3]: tab.mouse.move(*o)
        tab.mouse.move(*at[-1])
        tab.mouse.up()

def touch(tab, strokes):
    "With a finger."
    cdp,b = tab.context.new_cdp_session(tab),box_of(tab)
    for s in strokes:
        at = [dict(x=b['x']+x*b['width'], y=b['y']+y*b['height']) for x,y in s]
        cdp.send('Input.dispatchTouchEvent', dict(type='touchStart', touchPoints=[at[0]]))
        for o in at[1::2]: cdp.send('Input.dispatchTouchEvent', dict(type='touchMove', touchPoints=[o]))
        cdp.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[]))

settled = '''() => new Promise(done => {
  const look = () => timer || busy || stale ? setTimeout(look, 10) : done()
  look()
})'''

def guess(tab):
    "What the page says when it has been answered."
    tab.evaluate(settled)
    return tab.locator('#guess').text_content()

def clear(tab): tab.evaluate('clear()')
def strokes_of(tab): return tab.evaluate('state.strokes')
def pixels(tab, id):
    data = tab.evaluate(f"[...$('{id}').getContext('2d').getImageData(0, 0, 28, 28).data]")
    return np.array(data).reshape(28,28,4)[...,0]

def ink(tab):
    "How much of the paper is covered, as it looks on the screen."
    shot = np.asarray(Image.open(BytesIO(tab.locator('#paper').screenshot())).convert('L')).astype(int)
    return (abs(shot-np.median(shot[5:15]))>60).mean()


quick_hands = ('school','small, in a corner')

@pytest.mark.parametrize('hand', [o if o in quick_hands else pytest.param(o, marks=pytest.mark.slow) for o in hands])
def test_ten_digits_are_read_in_every_hand(hand, opened):
    tab,wrong = opened(),{}
    for d,strokes in hands[hand].items():
        clear(tab)
        draw(tab, strokes)
        if (said := guess(tab))!=str(d): wrong[d] = said
    assert len(wrong)<=1, wrong

def test_what_is_shown_is_one_answer(opened):
    tab = opened()
    draw(tab, hands['school'][7])
    assert guess(tab)=='7'
    bars = [float(re.sub(r'[^\d.]', '', o)) for o in tab.locator('.bar .value').all_text_contents()]
    assert len(bars)==10 and max(bars)==bars[7] and 98<sum(bars)<102
    assert tab.locator('.bar.top').get_attribute('data-digit')=='7'
    widths = [o.bounding_box()['width'] for o in tab.locator('.bar .fill').all()]
    assert max(widths)==widths[7]>50
    assert '%' in tab.locator('#sure').text_content() and '100 %' not in tab.locator('#sure').text_content()
    assert re.fullmatch(r'tested: \d\d\.\d %', tab.locator('.model').last.locator('.tested').text_content())

def test_the_28_pixels_are_what_the_models_see(opened, served):
    tab = opened()
    draw(tab, hands['other'][4])
    guess(tab)
    seen = pixels(tab, 'seen')
    image = tab.evaluate('asPng()')
    from digits_fastai.app.draw import prepare,read_drawing
    assert abs(prepare(read_drawing(b64decode(image.partition(',')[2]))).numpy()*255-seen).max()<=1
    rows,cols = (np.flatnonzero(seen.max(a)) for a in (1,0))
    assert max(rows[-1]-rows[0], cols[-1]-cols[0])==19 and seen.max()==255
    assert pixels(tab, 'mean').any()
    assert re.fullmatch(r'nearest mean digit: \d', tab.locator('#mean-caption').text_content())

def test_it_guesses_while_the_pen_is_still_down(opened):
    tab = opened()
    b = box_of(tab)
    tab.mouse.move(b['x']+b['width']*.5, b['y']+b['height']*.15)
    tab.mouse.down()
    for y in range(20,86,6): tab.mouse.move(b['x']+b['width']*.5, b['y']+b['height']*y/100)
    assert guess(tab)=='1' and tab.evaluate('drawing!==null')
    tab.mouse.up()

def test_few_questions_are_asked_however_much_is_drawn(opened):
    tab = opened()
    draw(tab, [[(.2+.6*(i%2), .1+.8*i/300) for i in range(300)]])
    guess(tab)
    assert 1<=sum(o.endswith('/guess') for o in opened.asked)<60

def test_undo_and_clear(opened):
    tab = opened()
    undo,clear_button = tab.get_by_role('button', name='Undo'),tab.get_by_role('button', name='Clear')
    assert undo.is_disabled() and clear_button.is_disabled() and tab.locator('#hint').is_visible()
    four = hands['school'][4]
    draw(tab, four)
    full,said = ink(tab),guess(tab)
    assert said=='4' and not tab.locator('#hint').is_visible()
    undo.click()
    assert len(strokes_of(tab))==1 and ink(tab)<full
    clear_button.click()
    assert not strokes_of(tab) and ink(tab)<.01 and guess(tab)=='?' and not pixels(tab, 'seen').any()
    undo.click() # clearing is undone as well
    undo.click()
    assert not strokes_of(tab) and undo.is_disabled()
    draw(tab, four)
    clear_button.click()
    undo.click()
    assert guess(tab)=='4' and abs(ink(tab)-full)<.005

def test_a_tap_is_a_dot_and_other_buttons_and_fingers_draw_nothing(opened):
    tab = opened()
    b = box_of(tab)
    tab.mouse.click(b['x']+50, b['y']+50, button='right')
    tab.keyboard.press('Escape')
    assert not strokes_of(tab)
    tab.mouse.click(b['x']+100, b['y']+100)
    assert len(strokes_of(tab))==1 and .003<ink(tab)<.02
    guess(tab)

def test_the_pen_may_leave_the_paper_and_come_back(opened):
    tab = opened()
    b = box_of(tab)
    tab.mouse.move(b['x']+100, b['y']+100)
    tab.mouse.down()
    tab.mouse.move(b['x']-60, b['y']+150)
    tab.mouse.move(b['x']+100, b['y']+200)
    tab.mouse.up()
    tab.mouse.move(b['x']+200, b['y']+200) # the pen is up: nothing more is drawn
    assert len(strokes_of(tab))==1 and max(x for x,y in strokes_of(tab)[0])<120
    guess(tab)

def test_every_model_has_its_say_and_one_is_chosen(opened):
    tab = opened()
    draw(tab, hands['other'][4])
    guess(tab)
    names = [o.get_attribute('data-name') for o in tab.locator('.model').all()]
    assert names==['pixel similarity','linear','simple_net','convnet']
    says = tab.locator('.model .says').all_text_contents()
    assert all(re.fullmatch(r'\d', o) for o in says) and says[3]=='4'
    before = len(opened.asked)
    for name,said in zip(names, says):
        tab.get_by_role('radio', name=name.replace('_', ' ')).check(force=True)
        assert tab.locator('#guess').text_content()==said
    assert len(opened.asked)==before, 'switching asks nobody'

def test_the_keyboard_draws_undoes_and_clears(opened):
    tab = opened()
    tab.keyboard.press('Tab')
    assert tab.evaluate("document.activeElement.id")=='paper'
    outline = tab.locator('#paper').evaluate('o => getComputedStyle(o).outlineStyle + getComputedStyle(o).outlineWidth')
    assert outline=='solid3px'
    for _ in range(9): tab.keyboard.press('ArrowUp')
    tab.keyboard.press(' ')
    for _ in range(18): tab.keyboard.press('ArrowDown')
    tab.keyboard.press(' ')
    tab.keyboard.press('ArrowLeft') # the pen is up
    assert len(strokes_of(tab))==1 and len(strokes_of(tab)[0])==19 and guess(tab)=='1'
    tab.keyboard.press('u')
    assert not strokes_of(tab)
    tab.keyboard.press(' ')
    tab.keyboard.press('Shift+ArrowRight')
    assert strokes_of(tab)[0][1][0]-strokes_of(tab)[0][0][0]==2
    tab.keyboard.press('Escape')
    tab.keyboard.press('c')
    assert not strokes_of(tab) and guess(tab)=='?'
    tab.keyboard.press('Control+z')
    assert strokes_of(tab)
    guess(tab)

def test_the_keyboard_reaches_everything(opened):
    tab,seen = opened(),[]
    draw(tab, hands['school'][1])
    guess(tab)
    tab.evaluate('document.activeElement.blur()')
    for _ in range(20):
        tab.keyboard.press('Tab')
        seen.append(tab.evaluate("(o => o.id || o.value || o.textContent)(document.activeElement)"))
    assert {'paper','undo','clear','file','convnet', *map(str, range(10))}<={*seen}
    for _ in range(30):
        if tab.evaluate('document.activeElement.name')=='model': break
        tab.keyboard.press('Tab')
    tab.keyboard.press('ArrowUp')
    assert tab.evaluate("chosen()")=='simple_net'

def test_a_phone_shows_paper_and_answer_on_one_screen_and_takes_a_finger(opened, browser):
    tab = opened(viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, device_scale_factor=2)
    assert tab.evaluate('document.documentElement.scrollWidth')<=390
    touch(tab, hands['other'][7])
    assert guess(tab)=='7' and tab.evaluate('scrollY')==0, 'a finger on the paper must not scroll'
    paper,said = (tab.locator(o).bounding_box() for o in ('#paper','#guess'))
    assert paper['width']>300 and said['y']+said['height']<844
    for o in tab.locator('button:visible, label.button').all(): assert o.bounding_box()['height']>=44

@pytest.mark.parametrize('width', [320,600,801,1600])
def test_nothing_sticks_out_at_any_width(width, opened):
    tab = opened(viewport=dict(width=width, height=800))
    assert tab.evaluate('document.documentElement.scrollWidth')<=width

contrast = '''() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number)
  const linear = v => (v /= 255) <= .04 ? v/12.92 : ((v + .055)/1.055)**2.4
  const lum = c => rgb(c).slice(0, 3).map(linear).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0)
  const clear = o => rgb(getComputedStyle(o).backgroundColor)[3] === 0
  const ground = o => clear(o) ? ground(o.parentElement) : getComputedStyle(o).backgroundColor
  const texts = 'h1, h2, p, button:enabled, kbd, .name, .value, .sure, figcaption, #sure, #guess, .bar > span'
  return [...document.querySelectorAll(texts)]
    .filter(o => o.offsetParent && o.textContent.trim()).map(o => {
      const [a, b] = [lum(getComputedStyle(o).color), lum(ground(o))].sort((x, y) => y - x)
      return [(a + .05)/(b + .05), o.textContent.trim().slice(0, 30)]
    }).sort((x, y) => x[0] - y[0])[0]
}'''

@pytest.mark.parametrize('scheme', ['light','dark'])
def test_light_and_dark_can_both_be_read_and_drawn_on(scheme, opened):
    tab = opened(color_scheme=scheme)
    draw(tab, hands['school'][3])
    assert guess(tab)=='3' and ink(tab)>.03
    ground = tab.locator('body').evaluate('o => getComputedStyle(o).backgroundColor')
    assert (sum(map(int, re.findall(r'\d+', ground)[:3]))<380)==(scheme=='dark')
    worst,text = tab.evaluate(contrast)
    assert worst>=4.5, f'{text!r} has a contrast of {worst:.1f}'
    assert pixels(tab, 'seen').max()==255, 'what is sent does not depend on the looks'

def test_the_looks_can_change_while_something_is_drawn(opened):
    tab = opened(color_scheme='light')
    draw(tab, hands['school'][3])
    before = ink(tab)
    tab.emulate_media(color_scheme='dark')
    assert guess(tab)=='3' and abs(ink(tab)-before)<.01

def test_it_was_a_seven_is_kept_and_counted(opened, served):
    tab = opened()
    draw(tab, hands['other'][7])
    guess(tab)
    tab.locator('#was button', has_text='7').click()
    tab.locator('#status').get_by_text('Kept as a 7').wait_for()
    assert not strokes_of(tab)
    draw(tab, hands['school'][7])
    tab.keyboard.press('7')
    tab.locator('#status').get_by_text('There are 2 of them').wait_for()
    files = sorted(served.collect.rglob('*.png'))
    assert [o.parent.name for o in files]==['7','7'] and Image.open(files[0]).size==(28,28)
    tab.keyboard.press('3') # nothing is drawn
    tab.locator('#status').get_by_text('Draw a digit first').wait_for()
    assert len(list(served.collect.rglob('*.png')))==2

def kept(served): return sorted(o.relative_to(served.collect).as_posix() for o in served.collect.rglob('*.png'))

def test_a_correction_is_taken_back_by_undo_and_then_has_another_label(opened, served):
    tab,before = opened(),kept(served)
    draw(tab, hands['slanted'][1])
    said = guess(tab)
    tab.locator('#was button', has_text='4').click()
    tab.locator('#status').get_by_text('Kept as a 4').wait_for()
    tab.keyboard.press('u')
    tab.locator('#status').get_by_text('Taken back').wait_for()
    assert guess(tab)==said and kept(served)==before, 'the drawing is there again, its file is not'
    tab.keyboard.press('1')
    tab.locator('#status').get_by_text('Kept as a 1').wait_for()
    new = [o for o in kept(served) if o not in before]
    assert len(new)==1 and new[0].startswith('1/')

def test_several_corrections_are_taken_back_one_after_the_other(opened, served):
    tab,before = opened(),kept(served)
    for digit in '27':
        draw(tab, hands['slanted'][int(digit)])
        guess(tab)
        tab.keyboard.press(digit)
        tab.locator('#status').get_by_text(f'Kept as a {digit}').wait_for()
    assert len(kept(served))==len(before)+2
    for left in (1,0):
        while not strokes_of(tab): tab.keyboard.press('u')
        tab.locator('#status').get_by_text('Taken back').wait_for()
        wait_until(tab, '!keeping')
        assert len(kept(served))==len(before)+left
        while strokes_of(tab): tab.keyboard.press('u')

def test_a_scribble_is_unlike_every_digit(opened, mnist):
    tab = opened()
    draw(tab, [lines((.1,.1),(.9,.3),(.1,.4),(.9,.6),(.1,.7),(.9,.9),(.8,.1),(.3,.9),(.5,.1),(.1,.9))])
    assert guess(tab)=='?' and 'Unlike every digit' in tab.locator('#sure').text_content()
    clear(tab)
    draw(tab, hands['school'][3])
    assert guess(tab)=='3' and 'sure' in tab.locator('#sure').text_content()

def test_it_says_that_it_waits_and_stops_saying_so(opened):
    tab = opened()
    held = []
    tab.route('**/guess', lambda route: held.append(route))
    draw(tab, hands['school'][3])
    tab.locator('#status').get_by_text('Waiting').wait_for()
    tab.unroute('**/guess')
    assert guess(tab)=='3' and tab.locator('#status').text_content()==''

def test_after_a_restart_of_the_server_it_answers_by_itself(browser, tmp_path_factory):
    home = home_with_models(tmp_path_factory)
    first = Page(home, 'port=0').started()
    second = None
    try:
        tab = browser.new_page()
        tab.goto(first.url)
        first.interrupt()
        draw(tab, hands['school'][7])
        tab.locator('#status').get_by_text('does not answer').wait_for()
        second = Page(home, f'port={first.url.rpartition(":")[2]}').started()
        tab.locator('#guess').get_by_text('7').wait_for(timeout=15_000)
        assert tab.locator('#status').text_content()==''
        tab.close()
    finally:
        for o in filter(None, (first,second)):
            o.interrupt()
            o.process.kill()

def test_everything_lies_in_a_landmark_and_every_button_shows_its_key(opened):
    "What axe-core asks for beyond contrast and names, which other tests have."
    tab = opened()
    assert tab.evaluate("[...document.body.children].map(o => o.tagName)")==['HEADER','MAIN','FOOTER']
    sections = tab.locator('section').all()
    assert sections and all(o.get_attribute('aria-label') for o in sections)
    for o in tab.locator('button, label.button').all():
        keys = o.locator('kbd').all_text_contents() or [o.text_content()]
        assert re.fullmatch(r'[a-z0-9]', keys[0])
    tab.evaluate("$('file').addEventListener('click', e => { e.preventDefault(); window.chooses = true })")
    tab.keyboard.press('p')
    assert tab.evaluate('window.chooses'), 'p opens a picture'
    before = tab.evaluate('chosen()')
    for _ in range(4):
        tab.keyboard.press('m')
        assert tab.evaluate('chosen()')!=before or _==3

paste = '''data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), clipboard = new DataTransfer()
  clipboard.items.add(new File([bytes], 'x.png', {type: 'image/png'}))
  document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: clipboard, bubbles: true}))
}'''

@pytest.mark.parametrize('digit', [2,7])
def test_a_picture_can_be_pasted(digit, opened):
    "Light on black, as MNIST's are."
    tab = opened()
    tab.evaluate(paste, b64encode(as_png(drawn(digit, side=60, width=6, ink=255, paper=0))).decode())
    wait_until(tab, 'Boolean(state.picture)')
    assert guess(tab)==str(digit)

def test_a_picture_can_be_opened_drawn_over_and_taken_away(opened, tmp_path):
    drawn(6).convert('RGB').resize((400,400)).save(tmp_path/'six.jpg')
    tab = opened()
    tab.locator('#file').set_input_files(tmp_path/'six.jpg')
    wait_until(tab, 'Boolean(state.picture)')
    assert guess(tab)=='6'
    draw(tab, [[(.1,.1),(.2,.1)]])
    assert guess(tab)!='?' and len(strokes_of(tab))==1
    tab.keyboard.press('u')
    tab.keyboard.press('u')
    assert guess(tab)=='?'
    (tmp_path/'no.png').write_text('no picture')
    tab.locator('#file').set_input_files(tmp_path/'no.png')
    tab.locator('#status').get_by_text('no picture').wait_for()
    draw(tab, hands['school'][1])
    assert guess(tab)!='?' and tab.locator('#status').text_content()=='', 'the next good answer takes it away'

def test_errors_are_shown_and_the_page_goes_on(opened):
    tab = opened()
    tab.route('**/guess', lambda route: route.abort())
    draw(tab, hands['school'][3])
    guess(tab)
    assert 'Is “digits draw” still running?' in tab.locator('#status').text_content()
    tab.unroute('**/guess')
    draw(tab, [[(.3,.85),(.32,.86)]])
    assert guess(tab)!='?' and tab.locator('#status').text_content()==''
    assert opened.said and all('Failed to load resource' in o for o in opened.said) # the browser's own lines
    opened.said.clear()

def test_no_script_can_be_slipped_into_the_page(opened):
    tab = opened()
    tab.evaluate("""() => {
        const script = document.createElement('script')
        script.textContent = 'window.slipped = 1'
        document.body.append(script)
    }""")
    assert tab.evaluate('window.slipped') is None
    assert opened.said and all('Content Security Policy' in o for o in opened.said)
    opened.said.clear()
