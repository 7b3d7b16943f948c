"""Photos of written digits, as a phone takes them: test digits written with a pen on paper that has a texture, is lit
from one side and may be squared, seen at an angle, blurred, kept as JPEG, and turned by a note in the file. `python
photos.py FOLDER` writes 60 of them, in the layout that `digits evaluate` reads."""
import io,sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

pens = {'black pen': ((35,35,40), 1.), 'blue ink': ((35,60,150), .9), 'pencil': ((90,90,95), .75)}
turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

def paper(dice, width, height, squared):
    "An empty sheet, float RGB [H,W,3]: a warm white with fibres, and perhaps a pale blue grid."
    fibres = ndimage.gaussian_filter(dice.normal(0, 1, (height,width)), .8)*3 + ndimage.gaussian_filter(
        dice.normal(0, 1, (height//8+1,width//8+1)), 2).repeat(8, 0).repeat(8, 1)[:height,:width]*12
    sheet = np.array(dice.uniform([228,224,214], [250,248,242])) + fibres[...,None]
    if squared:
        step = int(dice.integers(34, 52))
        for at in range(step//2, height, step): sheet[at:at+2] = [176,196,222]
        for at in range(step//2, width, step): sheet[:,at:at+2] = [176,196,222]
    return sheet

def written(digit, size):
    "A test digit's stroke, 0 to 1, [size,size]: enlarged, with the edge of a pen."
    large = Image.fromarray(digit).resize((size,size), Image.Resampling.BICUBIC)
    return np.interp(np.asarray(large), [90,130], [0,1])

def write(sheet, digit, pen, top, left, size, dice):
    "Put a digit on the sheet."
    colour,strength = pens[pen]
    stroke = written(digit, size)*strength
    if pen=='pencil': stroke = stroke*np.clip(dice.normal(.9, .12, stroke.shape), .55, 1) # the paper shines through
    part = sheet[top:top+size,left:left+size]
    part += stroke[...,None]*(np.array(colour)-part)

def shadow(dice, width, height):
    "How much light there is, from about 0.5 to 1, [H,W]: a slope, and the soft edge of a hand's shadow."
    y,x = np.mgrid[0:1:height*1j,0:1:width*1j]
    angle = dice.uniform(0, 2*np.pi)
    along = np.cos(angle)*(x-.5) + np.sin(angle)*(y-.5)
    slope = 1 - dice.uniform(.1, .35)*(along+.7)
    edge = dice.uniform(-.35, .35)
    other = np.cos(angle+1)*(x-.5) + np.sin(angle+1)*(y-.5)
    return slope*(1 - dice.uniform(0, .25)/(1+np.exp((other-edge)*dice.uniform(12, 40))))

def tilted(im, dice, most=15):
    "Seen at an angle: up to `most` degrees about both axes."
    w,h = im.size
    a,b = np.deg2rad(dice.uniform(-most, most, 2))
    corners = []
    for x,y in ((-w/2,-h/2), (w/2,-h/2), (w/2,h/2), (-w/2,h/2)): # where the corners of the picture lie on the sheet
        depth = 1 + (x*np.sin(a) + y*np.sin(b))/(1.5*max(w, h))
        corners.append((w/2 + x*np.cos(a)/depth, h/2 + y*np.cos(b)/depth))
    inner = [(.86*(x-w/2)+w/2, .86*(y-h/2)+h/2) for x,y in corners] # no edge of the sheet is seen
    rows,there = [],[]
    for (x,y),(u,v) in zip(((0,0), (w,0), (w,h), (0,h)), inner):
        rows += [[x,y,1,0,0,0,-u*x,-u*y], [0,0,0,x,y,1,-v*x,-v*y]]
        there += [u,v]
    return im.transform(im.size, Image.Transform.PERSPECTIVE, np.linalg.solve(rows, there), Image.Resampling.BICUBIC)

def photo(
    digits, # test digits, uint8 [28,28] each, written from left to right
    seed, # of everything
    width=800,
    height=600,
    quality=60, # of the JPEG
):
    "A JPEG file, as bytes."
    dice = np.random.default_rng(seed)
    pen = list(pens)[seed%3]
    sheet = paper(dice, width, height, squared=(seed+seed//10)%2==1)
    room = .8*width/len(digits) # nothing is written near the edges of the sheet
    for i,digit in enumerate(digits):
        size = int(min(dice.uniform(.38, .62)*height, .85*room))
        top = int(dice.uniform(.2, .8)*(height-size)) if len(digits)==1 else (height-size)//2 + int(dice.integers(-20, 20))
        left = int(.1*width + (i + dice.uniform(.2, .8)*(1-size/room))*room)
        write(sheet, digit, pen, top, left, size, dice)
    lit = sheet*shadow(dice, width, height)[...,None]
    im = tilted(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), dice)
    seen = ndimage.gaussian_filter(np.asarray(im, float), (*[dice.uniform(.5, 1.8)]*2,0))
    seen += dice.normal(0, dice.uniform(1, 4), seen.shape) # the sensor
    im = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
    turn = list(turns)[seed//6%4]
    if turns[turn] is not None: im = im.transpose(turns[turn]) # and the file says how to turn it back
    exif = Image.Exif()
    exif[0x0112] = turn
    im.save(out := io.BytesIO(), 'JPEG', quality=quality, exif=exif)
    return out.getvalue()

def sixty(x, y, n=60):
    "`n` photos of test digits, with what they show: uint8 [N,28,28] and labels as lists."
    per = [[i for i,label in enumerate(y) if label==d][:n//10] for d in range(10)]
    chosen = [i for some in zip(*per) for i in some]
    return [(photo([x[i]], seed), int(y[i]), i) for seed,i in enumerate(chosen)]

def write_photos(folder, x, y, n=60):
    for number,(data,label,_) in enumerate(sixty(x, y, n)):
        file = Path(folder)/str(label)/f'{number:02}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

if __name__=='__main__':
    from digits_fastai.download import digits_path
    from digits_fastai.images import load_folder,part_folder
    x,y,_ = load_folder(part_folder(digits_path(full=True), None, ('testing','valid')))
    write_photos(sys.argv[1], x.numpy(), y.tolist())
