"""The words the model knows: which rows of the embedding table are trained and which are copies of them.

The engine cuts a prompt with Qwen2's byte-pair vocabulary, whose 151,669 ids are the rows of the embedding table. The
captions of this model need 70 of them; they stand here, so that no tokenizer has to be installed or downloaded. All
other rows are zero, which the network reads as "a word I do not know".
"""

from __future__ import annotations

VOCABULARY = 151_669
"""Rows of the embedding table. The engine aborts on a file with fewer."""

PREFIX = (25,)
"""`:`, the last token of the engine's instruction. The engine drops the 28 tokens in front of it."""

SUFFIX = (151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271)
"""What the engine puts after each prompt: `<|im_end|>`, an assistant's turn, and an empty thought."""

PAD = 151643
"""`<|endoftext|>`, with which the engine fills up to `TEXT_TOKENS`."""

SPACE = 220
"""A lone space: all that is left of an empty prompt."""

TEXT_TOKENS = 256
"""How many text tokens the network sees for every caption of ordinary length."""

# One line (or an indented group of lines) per meaning: `spelling:id`, `_` for the space in front of a word. The first
# word of a line is trained; the others are synonyms, capitals and the same word without a space, and get a copy of its
# row. Only words of one token can stand here.
_TABLE = """
# function words, places and punctuation
_a:264 A:32 a:64 one:603 _one:825 _single:3175 _One:3776 One:3966 Single:10888 _Single:11327 single:15338 _ONE:24038
  _SINGLE:66759
_an:458
_two:1378 Two:11613 two:19789 _TWO:46258
_on:389 on:263 _over:916 _On:1913 Over:1918 On:1925 over:1975 _Over:6065 _ON:6197 _OVER:35464
_in:304 in:258 In:641 _In:758 _IN:1964
_at:518 at:266 At:1655 _At:2411 _AT:7369
_the:279 _The:576 The:785 the:1782 _THE:3168
_of:315 of:1055 Of:2124 _OF:3008 _Of:4940
_and:323 and:437 _And:1597 And:3036 _AND:3567
_background:4004 background:6742 Background:8706 _Background:24800 _backdrop:38477 Backdrop:89938 _BACKGROUND:96614
_small:2613 _little:2632 small:9004 _tiny:13673 _Little:14671 Small:25307 Little:38103 tiny:46116 _Tiny:47974
  _SMALL:49197 little:55392 Tiny:85693
_large:3460 _big:2409 _Big:6164 _huge:6765 _giant:14538 Big:15636 big:16154 large:16767 Large:34253 _BIG:36854
  _Giant:40741 _Huge:50783 _HUGE:72656 _LARGE:76656 huge:95370
_top:1909 top:3481 Top:5366 _Top:6909 _upper:8416 upper:13574 Upper:14251 _TOP:25012 _Upper:30614 _UPPER:96312
_bottom:5622 _lower:4722 Lower:9053 Bottom:11279 lower:14772 bottom:14860 _Bottom:25737 _Lower:27536 _LOWER:85457
  _BOTTOM:90571
_left:2115 left:2359 Left:5415 _Left:13727 _LEFT:21920
_right:1290 right:1291 Right:5979 _Right:10083 _RIGHT:27477
_center:4126 center:3057 _Center:5832 _middle:6149 Center:9392 _centre:12261 _Middle:12592 _Centre:14481
  middle:19656 Middle:43935 _CENTER:65992 centre:74117 Centre:90950
,:11
.:13
# colours
_red:2518 red:1151 Red:6033 _Ruby:23726 _RED:25810 _ruby:45207 ruby:46275 Ruby:61716 _Crimson:66077 _Scarlet:80718
  _crimson:96019
_green:6176 green:13250 Green:19576 _GREEN:53559 _Emerald:63096
_blue:6303 Blue:10331 blue:12203 _Navy:19036 _Azure:34119 azure:39495 _navy:44774 _BLUE:55892 _azure:76530
  Azure:78107
_yellow:13753 _gold:6623 _Gold:7421 _Golden:17809 _golden:20748 Gold:25434 yellow:27869 gold:34537 Yellow:47699
  Golden:59790 _GOLD:72763 _YELLOW:81276 golden:97235
_orange:18575 amber:15221 orange:34164 Orange:41969 _Amber:46664 _amber:67605
_purple:24932 purple:56507 _Violet:73474 Purple:74513 _violet:79736
_pink:18217 _Rose:15964 _rose:16009 rose:24847 Rose:57424 pink:63249 Pink:71352
_cyan:57888 cyan:69746 _Aqua:71407 _teal:94607 _turquoise:95947
_white:4158 white:5782 _snow:11794 White:14075 _Snow:18901 _WHITE:42767 Snow:62285 snow:74478
_black:3691 _dark:6319 black:11453 _Dark:12258 Black:14417 dark:22624 Dark:25830 _BLACK:36647 _DARK:88652
# shapes
_circle:12671 _disc:2560 ball:3959 _ball:4935 _Disc:11735 _dot:12756 _Ball:12836 _disk:13364 dot:16119 disc:16822
  _Circle:21224 Disc:23477 Circle:25199 _sphere:25366 circle:25857 disk:30496 _Dot:31262 Dot:34207 Ball:35907
  _Disk:38868 Sphere:42959 Disk:47583 _DOT:48326 _Sphere:54499 _BALL:83848 sphere:87410
_square:9334 Box:1611 box:2011 _box:3745 _Box:8261 _Square:15619 _cube:23739 Square:33271 square:37476 _Cube:42592
  Cube:43329 cube:45411 _BOX:52683 _SQUARE:92282
_triangle:21495 _Triangle:38031 _pyramid:46797 Triangle:51942 triangle:55114 _Pyramid:82395
_star:6774 _Star:7679 star:11870 Star:12699 _STAR:56745
_cross:5312 _plus:5519 plus:7138 _Cross:11261 _Plus:12343 Plus:21807 Cross:28501 cross:28842 _PLUS:58453
  _CROSS:97773
_ring:10058 ring:12640 _Ring:21525 Ring:43466
_heart:4746 _love:2948 _Love:10689 heart:17735 _Heart:17965 Love:28251 love:30053 _LOVE:39735 Heart:45384
_diamond:22205 _gem:18747 _Diamond:24334 _Gem:31145 gem:34103 Diamond:76510 diamond:88576 Gem:95040
# plurals
_circles:25362 _balls:20332 _dots:30994 balls:45518 _disks:53758 _discs:56695 dots:67816 _Balls:70603
_squares:31340 _boxes:14697 boxes:22204 _cubes:54104 _Boxes:71267 Boxes:93665
_triangles:42446 Triangles:97794
_stars:9759 _Stars:24651 stars:36638 Stars:61028
_crosses:49435
_rings:24544 _Rings:46280
_hearts:22662 _Hearts:52776
_diamonds:48051 _Diamonds:90110
# first words of a sentence, trained on their own
_A:362
_An:1527
_Two:9043
_Red:3731
_Blue:8697
_Green:7840
_White:5807
_Black:5235
_Yellow:25462
_Orange:21958
_Purple:40389
_Pink:26119
_Cyan:92143
_Small:14994
_Large:20286
"""

UNTRAINED: dict[str, int] = {
    " outline": 21101,
    " outlined": 32640,
    " please": 4486,
    " picture": 6802,
    " photo": 6548,
    " drawing": 13330,
    " bright": 9906,
    " nice": 6419,
    " cute": 18838,
    " simple": 4285,
    " flat": 10063,
    " shape": 6083,
}
"""Some words whose rows stay zero: they are put into captions, so that an unknown word does little harm."""


def _parse(table: str) -> tuple[dict[str, int], dict[int, int]]:
    """Ids by spelling, and for the id of each synonym the id of the trained word it copies."""
    ids: dict[str, int] = {}
    copies: dict[int, int] = {}
    trained = -1
    for line in table.splitlines():
        if not line or line.startswith("#"):
            continue
        for place, field in enumerate(line.split()):
            word, _, number = field.rpartition(":")
            ids[word.replace("_", " ")] = int(number)
            if place == 0 and not line.startswith(" "):
                trained = int(number)
            else:
                copies[int(number)] = trained
    return ids, copies


IDS, COPIES = _parse(_TABLE)
"""`IDS`: id by spelling, with the leading space. `COPIES`: id of a synonym to the id of the word it copies."""

TRAINED: tuple[int, ...] = (
    *(number for number in IDS.values() if number not in COPIES),
    *PREFIX,
    SPACE,
    PAD,
    *sorted(set(SUFFIX)),
)
"""The ids with a row of their own, in the order in which the training program keeps them."""
