'use strict'
// The page's hands and eyes: strokes of a pen on a canvas, a question to the server whenever they change, its answer shown.

const $ = id => document.getElementById(id)
const side = 280, brush = 26, wait = 120 // pixels of the canvas, pixels, milliseconds
const paper = $('paper'), collecting = 'collect' in document.body.dataset

// What is on the paper: strokes, each a list of [x, y], and perhaps a picture under them. Every change makes a new state.
let state = {strokes: [], picture: null}, past = []
const pen = {x: side/2, y: side/2, down: false, shown: false} // the keyboard's
let drawing = null // the pointer's stroke, while it is being drawn
const kept = new Set() // states that were kept: undone, they are taken out of the collection again

const empty = () => !state.strokes.length && !state.picture

function change(next) {
  past = [...past.slice(-99), state]
  state = next
  changed()
}

function undo() {
  if (!past.length || keeping) return
  state = past.pop()
  changed()
  if (kept.has(state)) forget()
}

function clear() {
  pen.down = false
  if (empty()) paint()
  else change({strokes: [], picture: null})
}

// Painting

function line(ctx, points) {
  const [[x, y], ...rest] = points
  ctx.beginPath()
  ctx.moveTo(x, y)
  if (!rest.length) ctx.lineTo(x + .01, y) // a dot
  rest.forEach(([a, b], i) => {
    const [p, q] = i ? rest[i - 1] : [x, y]
    ctx.quadraticCurveTo(p, q, (p + a)/2, (q + b)/2) // a curve through the middles hides the corners
    if (i == rest.length - 1) ctx.lineTo(a, b)
  })
  ctx.stroke()
}

function put(ctx, ink, ground) {
  const {strokes, picture} = state
  ctx.fillStyle = ground
  ctx.fillRect(0, 0, side, side)
  if (picture) {
    const size = side/Math.max(picture.width, picture.height), w = picture.width*size, h = picture.height*size
    ctx.drawImage(picture, 0, 0, 1, 1, 0, 0, side, side) // the colour of its corner all around it
    ctx.drawImage(picture, (side - w)/2, (side - h)/2, w, h)
  }
  Object.assign(ctx, {lineWidth: brush, lineCap: 'round', lineJoin: 'round', strokeStyle: ink})
  for (const stroke of strokes) line(ctx, stroke)
}

function paint() {
  const style = getComputedStyle(paper), ctx = paper.getContext('2d'), size = paper.width/side
  ctx.setTransform(size, 0, 0, size, 0, 0)
  put(ctx, style.color, style.backgroundColor)
  if (pen.shown && document.activeElement == paper) {
    Object.assign(ctx, {lineWidth: 2.5, strokeStyle: style.caretColor, fillStyle: style.caretColor})
    ctx.beginPath()
    ctx.arc(pen.x, pen.y, brush/2, 0, 7)
    pen.down ? ctx.fill() : ctx.stroke()
  }
  $('hint').hidden = !empty() || pen.shown
  $('undo').disabled = !past.length
  $('clear').disabled = empty()
}

function asPng() { // black on white, whatever the page looks like
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = side
  put(canvas.getContext('2d'), 'black', 'white')
  return canvas.toDataURL('image/png')
}

// Asking: at most every `wait` milliseconds, one question at a time, and the last state is always asked about

let timer = null, again = null, busy = false, stale = false, keeping = false, trouble = false, answer = null

function changed() {
  paint()
  if (empty()) return show(null)
  timer ??= setTimeout(() => { timer = null; ask() }, wait)
}

async function post(where, what) {
  const body = JSON.stringify(what), headers = {'Content-Type': 'application/json'}
  const reply = await fetch(where, {method: 'POST', headers, body})
    .catch(() => { throw Object.assign(Error('The server does not answer. Is “digits draw” still running?'), {gone: true}) })
  if (!reply.ok) throw Error(await reply.text())
  return reply.json()
}

async function ask() {
  if (busy || empty()) { stale = busy; return }
  busy = true
  const waiting = setTimeout(() => warn('Waiting for the answer …'), 700)
  try {
    const said = await post('/guess', {image: asPng()})
    if (!empty()) show(said)
    if (trouble) tell('')
    trouble = false
  } catch (e) {
    show(null)
    warn(e.message)
    if (e.gone) again ??= setTimeout(() => { again = null; ask() }, 1000) // it may come back
  }
  clearTimeout(waiting)
  busy = false
  if (stale) { stale = false; ask() }
}

const warn = text => { tell(text); trouble = true } // until the next good answer

async function keep(label) {
  if (empty()) return tell('Draw a digit first, then say which it was.')
  if (keeping) return // a second press of the same button
  keeping = true
  const drawn = state
  try {
    const said = await post('/collect', {image: asPng(), label})
    if (state == drawn) clear()
    kept.add(drawn)
    tell(`Kept as a ${label}. ${said.drawings === 1 ? 'It is the first' : `There are ${said.drawings} of them`} now. Undo takes it back.`)
  } catch (e) { tell(e.message) }
  keeping = false
}

async function forget() {
  keeping = true
  const drawn = state
  try {
    await post('/forget', {image: asPng()})
    kept.delete(drawn)
    tell('Taken back: it is kept no longer.')
  } catch (e) { tell(`It could not be taken back. ${e.message}`) }
  keeping = false
}

const tell = text => { $('status').textContent = text }

// Showing

// Nobody is ever quite sure, so 100 % is never shown.
const percent = p => p < .0005 ? '0 %' : p < .1 || p >= .995 ? `${Math.min(100*p, 99.9).toFixed(1)} %` : `${Math.round(100*p)} %`
const chosen = () => document.querySelector('input[name=model]:checked').value

function pixels(canvas, data) {
  const ctx = canvas.getContext('2d'), im = ctx.createImageData(28, 28)
  const bytes = data ? atob(data) : ''
  for (let i = 0; i < 784; i++) im.data.set([...Array(3).fill(bytes ? bytes.charCodeAt(i) : 0), 255], 4*i)
  ctx.putImageData(im, 0, 0)
}

function show(said) {
  answer = said
  document.body.classList.toggle('empty', !said)
  for (const card of document.querySelectorAll('.model')) {
    const {label, probability, unlike} = said?.guesses[card.dataset.name] ?? {}
    card.querySelector('.says').textContent = said && !unlike ? label : '?'
    card.querySelector('.sure').textContent = unlike ? 'unlike all' : said ? percent(probability) : ''
  }
  const one = said?.guesses[chosen()]
  $('guess').textContent = one && !one.unlike ? one.label : '?'
  $('sure').textContent = one?.unlike ? `Unlike every digit. Nearest: ${one.label}`
    : one ? `${percent(one.probability)} sure` : 'Draw, and it reads along.'
  for (const row of document.querySelectorAll('.bar')) {
    const p = one?.probabilities[row.dataset.digit] ?? 0
    row.classList.toggle('top', !!one && row.dataset.digit == one.label)
    row.querySelector('.fill').style.width = `${100*p}%`
    row.querySelector('.value').textContent = one ? percent(p) : ''
  }
  pixels($('seen'), said?.pixels)
  if (!$('mean')) return // pixel similarity is not asked
  pixels($('mean'), said?.nearest.pixels)
  $('mean-caption').textContent = said ? `nearest mean digit: ${said.nearest.label}` : 'nearest mean digit'
}

// The pointer: mouse, finger or pen

const place = e => {
  const box = paper.getBoundingClientRect()
  return [(e.clientX - box.left)*side/box.width, (e.clientY - box.top)*side/box.height]
}

paper.addEventListener('pointerdown', e => {
  if (!e.isPrimary || e.button > 0 || drawing) return
  paper.setPointerCapture(e.pointerId)
  pen.shown = pen.down = false
  drawing = [place(e)]
  change({...state, strokes: [...state.strokes, drawing]})
})

paper.addEventListener('pointermove', e => {
  if (!drawing || !e.isPrimary) return
  const events = e.getCoalescedEvents?.() ?? []
  drawing.push(...(events.length ? events : [e]).map(place))
  changed()
})

for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'])
  paper.addEventListener(end, e => { if (e.isPrimary) drawing = null })

// The keyboard: arrows move the pen, space puts it down and lifts it

const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}

paper.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return
  if (e.key == ' ') {
    pen.shown = true
    pen.down = !pen.down
    if (pen.down) change({...state, strokes: [...state.strokes, [[pen.x, pen.y]]]})
    else paint()
  } else if (e.key in arrows) {
    const [dx, dy] = arrows[e.key], step = e.shiftKey ? 2 : 10
    pen.shown = true
    pen.x = Math.min(Math.max(pen.x + dx*step, 0), side)
    pen.y = Math.min(Math.max(pen.y + dy*step, 0), side)
    if (!pen.down) paint()
    else {
      const strokes = [...state.strokes], last = strokes.pop() ?? []
      state = {...state, strokes: [...strokes, [...last, [pen.x, pen.y]]]} // one stroke is one step of undo
      changed()
    }
  } else if (e.key == 'Escape') pen.shown = pen.down = false, paint()
  else return
  e.preventDefault()
})

for (const o of ['focus', 'blur']) paper.addEventListener(o, () => { if (o == 'blur') pen.down = false; paint() })

document.addEventListener('keydown', e => {
  const undoing = (e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() == 'z'
  if (!undoing && (e.ctrlKey || e.metaKey || e.altKey)) return
  if (undoing || e.key == 'u') undo()
  else if (e.key == 'c' || e.key == 'Delete') clear()
  else if (e.key == 'p') $('file').click()
  else if (e.key == 'm') nextModel()
  else if (collecting && /^[0-9]$/.test(e.key)) keep(e.key)
  else return
  e.preventDefault()
})

// Buttons, models, pictures from elsewhere

function nextModel() {
  const all = [...document.querySelectorAll('input[name=model]')], at = all.findIndex(o => o.checked)
  all[(at + 1) % all.length].checked = true
  show(answer)
}

$('undo').addEventListener('click', undo)
$('clear').addEventListener('click', clear)
$('models').addEventListener('change', () => show(answer))
for (const o of document.querySelectorAll('#was button')) o.addEventListener('click', () => keep(o.value))

async function open(file) {
  if (!file) return
  try { change({strokes: [], picture: await createImageBitmap(file)}) }
  catch { warn('That is no picture which this browser can read.') }
}

$('file').addEventListener('change', e => { open(e.target.files[0]); e.target.value = '' })
document.addEventListener('paste', e => open(e.clipboardData.files[0]))
document.addEventListener('dragover', e => e.preventDefault())
document.addEventListener('drop', e => { e.preventDefault(); open(e.dataTransfer.files[0]) })
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint)

show(null)
paint()
