"""Makes data/jinja_goldens.jsonl: what jinja2, set up by transformers, gives for every construct that chat templates use.
Run in the environment of `make parity`: python tests/text/jinja_goldens.py"""
import pathlib

from jinja_reference import dump, golden
from jinja_conversations import conversations

HERE = pathlib.Path(__file__).parent
CONTEXT = {
    "a": 3, "b": -7, "x": 2.5, "s": "Hello, World", "u": "Grüße, 世界 🙂", "none": None, "t": True, "f": False, "empty": "",
    "l": [3, 1, 2], "words": ["banana", "Apple", "cherry"], "d": {"b": 1, "a": [1, {"k": "v"}], "items": "shadow"},
    "users": [{"name": "Zoe", "age": 31, "on": True}, {"name": "adam", "age": 25, "on": False}, {"name": "Bob", "age": 31}],
    "text": "one\ntwo\n\nthree", "html": "<a href=\"x\">&'</a>", "n": [1, [2, [3, [4]]]],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4
2 ** 3 ** 2
-2 ** 2
(-2) ** 2
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, 7.5 // 2, -7.5 % 2
1 / 2, 4 / 2, 1e16, 1e15, 1.5e-5, 0.0001, 1e300 * 1e10, 1/3
0.1 + 0.2, 100.0, 1e22, 123456789012345680.0, -0.0
2 ** 100, 2 ** -1, 10 ** 20 // 7
1 / 0
1 // 0
1 % 0
1.5 % 0
0 ** -1
'a' + 'b', 'a' * 3, 3 * 'ab', 'a' * -1
'a' + 1
1 + 'a'
[1] + [2], (1,) + (2,), [1] * 2
[1] + (2,)
'a' - 'b'
1 ~ 'a' ~ none ~ true ~ 2.0 ~ [1, 'x'] ~ {'k': 1}
true + true, true == 1, 1 == 1.0, '1' == 1, none == false
1 < 2 < 3, 1 < 3 < 2, 1 < 2 > 1, 'a' < 'b', [1, 2] < [1, 3], (1,) < (1, 0)
'a' < 1
none < 1
1 in [1, 2], 3 not in [1, 2], 'b' in 'abc', 'k' in {'k': 1}, 1 in (1, 2), 2 in range(3), 2.0 in range(3)
1 in 'abc'
1 in 5
'x' in none
not 1, not '', not [], not none, not not 1
1 and 2, 0 and 2, 0 or 3, '' or 'x' or 'y', none and 1
1 if true else 2, 1 if false else 2, 'x' if s == 'no'
('x' if false).y
[1, 2, 3][0], [1, 2, 3][-1], [1, 2, 3][5], 'abc'[1], u[8], u[-1], (1, 2)[1]
l[1:], l[:-1], l[::-1], l[::2], l[5:], s[1:4], s[::-1], u[7:9], u[::-2], range(10)[2:5]
l[::0]
d[1:2]
d.b, d['b'], d.items, d['items'], d.missing, d['missing'], d.a[1].k, d['a'][1]['k']
d.keys() | list, d.values() | list, d.items() | list, d.get('b'), d.get('zz'), d.get('zz', 5)
d.items()
d.keys()
d.values()
missing
missing.x
missing['x']
missing()
missing + 1
'a' + missing
-missing
missing < 1
missing == missing, missing == none, missing != 1
[missing]
missing | length, missing | list, missing ~ 'x', missing is defined, missing is undefined, missing | default('z')
'%s|%s' % (missing, 1)
d.missing.deeper
s.nope()
l.append(1)
l.append
d.update({'x': 1})
d.pop('b')
d.setdefault
l.sort()
l.copy(), l.index(1), l.count(3)
l.index(99)
s.__class__
s.__class__.__mro__
d._x
{'_x': 1}._x, {'_x': 1}['_x']
a.real, a.imag, x.real, x.is_integer(), a.bit_length()
5()
'x'()
none.x
range(3), range(1, 4), range(0, 10, 3), range(3)|list, range(5, 0, -2)|list
range(200000)
range()
range(1, 2, 0)
dict(a=1, b=2), dict([['x', 1]], y=2), dict({'k': 1}, k=2)
dict(1)
namespace(a=1).a, namespace({'x': 2}).x, namespace().y
namespace(a=1)
[1, 2.0, 'x', none, true, (1,), (1, 2), {}, [], ()]
{'a': 1, 'b': [1, 2], 3: none, 1.5: true, none: 'x', (1, 2): 'tuple'}
{'a': 1, 'a': 2}
{[1]: 2}
'it\'s', "say \"hi\"", 'both \' and "', 'tab\t nl\n cr\r back\\slash'
['it\'s', "say \"hi\"", 'both \' and "', 'tab\t nl\n cr\r back\\slash', '\x00\x1f\x7f\xa0é\u200b\u2028世🙂\U0001F600']
'\u0041\x42\103\N{BULLET}\q'
'a' 'b' "c"
'\ud83d\ude00'
0x1F, 0b101, 0o17, 1_000, 1_0.5_0, 1e3, 0, 00
1.5.real
'abc'.upper(), 'ABC'.lower(), 'hello world'.title(), 'hELLO'.capitalize(), 'aBc'.swapcase(), 'straße'.upper(), 'ΑΣ'.lower(), 'ß'.casefold()
"they're bill's".title(), 'x1y'.title(), 'ǆ'.title()
' a '.strip() ~ '|', 'xxaxx'.strip('x'), ' a'.lstrip(), 'a  '.rstrip() ~ '|', 'abcba'.lstrip('ab'), 'abcba'.rstrip('ab'), '\u3000x\u00a0'.strip()
'a,b,,c'.split(','), 'a b  c '.split(), ' a b c '.split(none, 1), 'a,b,c'.split(',', 1), 'a,b,c'.rsplit(',', 1), ' a b  c '.rsplit(none, 1), ''.split(), ''.split(',')
'a,b,c'.split(sep=',', maxsplit=1)
'abc'.split('')
'a</think>b</think>c'.split('</think>')[-1], 'a\nb'.split('\n')
text.splitlines(), 'a\r\nb\rc\x0bd\u2028e'.splitlines(), 'a\nb\n'.splitlines(true), ''.splitlines(), '\n'.splitlines()
'abcabc'.find('c'), 'abcabc'.find('c', 3), 'abc'.find('z'), 'abcabc'.rfind('c'), u.find('世'), 'abc'.index('b'), 'aaa'.count('a'), 'aaaa'.count('aa'), 'abc'.count(''), 'abc'.find('', 5), 'abc'.find('', 3)
'abc'.index('z')
'abc'.startswith('ab'), 'abc'.endswith('bc'), 'abc'.startswith(('x', 'a')), 'abc'.endswith(('c',)), 'abc'.startswith('b', 1), 'abc'.startswith('')
'abc'.startswith(1)
'aXbXc'.replace('X', '-'), 'aXbXc'.replace('X', '-', 1), 'abc'.replace('', '.'), u.replace('世', 'w')
'-'.join(['a', 'b']), ''.join('abc'), ', '.join({'x': 1, 'y': 2})
'-'.join([1, 2])
'a'.center(5) ~ '|', 'ab'.center(5, '*'), 'a'.center(4, '*'), 'a'.ljust(3, '.'), 'a'.rjust(3), '42'.zfill(5), '-42'.zfill(5)
'a-b-c'.partition('-'), 'a-b-c'.rpartition('-'), 'abc'.partition('x')
'123'.isdigit(), '12a'.isdigit(), 'abc'.isalpha(), 'ab1'.isalnum(), ' '.isspace(), 'abc'.islower(), 'ABC'.isupper(), 'Abc Def'.istitle(), '²'.isdigit(), '²'.isdecimal(), '½'.isnumeric(), ''.isalpha()
'prefix-x'.removeprefix('prefix-'), 'x.py'.removesuffix('.py'), 'a\tb'.expandtabs(4), 'abc'.isidentifier(), 'é'.isascii()
'{} {}'.format(1, 'x'), '{1} {0}'.format(1, 2), '{a} {b!r}'.format(a=1, b='x'), '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c'), '{:05.1f}'.format(3.14159), '{:,}'.format(1234567), '{:x} {:#x} {:b}'.format(255, 255, 5), '{{}}'.format(), '{0.name}'.format({'name': 1}), '{0[k]}'.format({'k': 2}), '{:+d}'.format(5), '{:e}'.format(12345.678), '{:.3}'.format('abcdef'), '{:%}'.format(0.5), '{:010d}'.format(-42)
'{}'.format()
'{a}'.format()
'%s %s' % ('a', 1), '%d' % 3.9, '%05d|%-5d|%+d' % (42, 42, 42), '%.2f' % 3.14159, '%x %X %o' % (255, 255, 8), '%5s|%-5s|' % ('a', 'b'), '%%' % (), '%r' % 'x', '%(a)s' % {'a': 1}, '%e' % 12345.678, '%g' % 0.0001, '%c' % 65, '%s' % [1, 2], '%s' % none
'%s %s' % 'a'
'%s' % (1, 2)
'%d' % 'x'
'%q' % 1
'abc' | upper, 'ABC' | lower, 'hello wORLD-foo (bar' | title, 'hELLO' | capitalize, ' x ' | trim ~ '|', 'xxaxx' | trim('x')
5 | upper, none | string, 1.0 | string, [1] | string
l | length, s | length, u | length, d | count, u | list
5 | length
l | first, l | last, [] | first, 'abc' | first, 'abc' | last, d | first, [] | last
l | map('string') | last
l | sort, l | sort(reverse=true), words | sort, words | sort(case_sensitive=true), users | sort(attribute='age') | map(attribute='name') | list, users | sort(attribute='age,name') | map(attribute='name') | list
[1, 'a'] | sort
l | min, l | max, words | min, words | max, [] | min, users | max(attribute='age')
l | sum, users | sum(attribute='age'), [[1], [2]] | sum(start=[]), [] | sum
['a'] | sum
l | join, l | join(', '), users | join('|', attribute='name'), 'abc' | join('-'), [none, true] | join(',')
l | reverse | list, 'abc' | reverse, u | reverse, d | reverse | list
[1, 1, 2, 1.0] | unique | list, ['a', 'A', 'b'] | unique | list, ['a', 'A'] | unique(case_sensitive=true) | list
l | map('string') | list, words | map('upper') | join(','), users | map(attribute='name') | list, users | map(attribute='on', default='?') | list, words | map('replace', 'a', 'o') | list
l | map('nofilter') | list
l | map | list
l | map(attribute='x', foo=1) | list
l | select('odd') | list, l | reject('odd') | list, [0, 1, none] | select | list, l | select('gt', 1) | list, l | select('divisibleby', 3) | list
l | select('notest') | list
users | selectattr('on') | map(attribute='name') | list, users | rejectattr('on') | map(attribute='name') | list, users | selectattr('age', 'equalto', 31) | list | length, users | selectattr('on', 'defined') | list | length, users | selectattr('name', 'in', ['Zoe']) | list
users | groupby('age') | list
users | groupby('age') | map(attribute='grouper') | list, (users | groupby('age'))[0].list | length, users | groupby('name') | map('first') | list
d | items | list, {} | items | list, missing | items | list
5 | items | list
d | dictsort, {'B': 1, 'a': 2} | dictsort, {'B': 1, 'a': 2} | dictsort(true), {'a': 2, 'b': 1} | dictsort(by='value'), {'a': 2, 'b': 1} | dictsort(reverse=true)
range(7) | batch(3) | list, range(7) | batch(3, 'x') | list, range(7) | slice(3) | list, range(7) | slice(3, 'x') | list
'12' | int, '12.7' | int, 'x' | int, 'x' | int(5), 3.9 | int, -3.9 | int, none | int, '0x1f' | int(0, 16), ' 42 ' | int, '1_000' | int, true | int, '1e3' | int
'1.5' | float, 'x' | float, 'x' | float(2.5), 3 | float, 'inf' | float, 'nan' | float, '1e5' | float
-3 | abs, -2.5 | abs, 2.5 | round, 3.5 | round, 2.675 | round(2), 42.55 | round(1), 42 | round, 2.1 | round(0, 'ceil'), 2.9 | round(method='floor'), 1234.5 | round(-2), 42.123 | round(1, 'floor'), -0.4 | round
'x' | abs
'x' | round
text | indent, text | indent(2), text | indent(2, true), text | indent(2, false, true), text | indent('> '), '' | indent, 'a\n' | indent
'foo bar baz qux' | truncate(9), 'foo bar baz qux' | truncate(9, true), 'foo bar baz qux' | truncate(11), 'foo bar baz qux' | truncate(11, false, '...', 0), 'abc' | truncate(3, true, '', 0)
'x' | center(5) ~ '|', 'foo bar' | wordcount, '%s-%s' | format('a', 1), '%(x)s' | format(x=5), 'a b' | replace(' ', '_'), 'aaa' | replace('a', 'b', 2), 123 | replace(2, 5)
html | escape, html | e | e, html | safe, html | forceescape, ('<' | safe) + '>', ('<' | e) ~ '<', ('a' | e) * 2, ('<' | safe) is escaped, '<' is escaped, html | striptags
'a b&c/d' | urlencode, {'a b': 'c&d', 'e': 1} | urlencode, [['x', 'y z']] | urlencode, 'ü' | urlencode
{'class': 'x', 'id': none, 'n': 1, 'q': '"'} | xmlattr
1000000 | filesizeformat, 1 | filesizeformat, 999 | filesizeformat, 123456789 | filesizeformat, 1048576 | filesizeformat(true)
s | attr('upper'), d | attr('b')
missing | default, missing | default('x'), none | default('x'), none | default('x', true), '' | d('y', true), 0 | default('z', boolean=true), d.zz | d([])
d | tojson, l | tojson, u | tojson, 'a"b\\c\n\t\x01\x7f</script>' | tojson, none | tojson, true | tojson, 1.0 | tojson, 1e100 | tojson, [] | tojson, {} | tojson, (1, 2) | tojson
d | tojson(indent=2), d | tojson(indent=4), {'b': 1, 'a': [], 'c': {}} | tojson(indent=1), d | tojson(sort_keys=true), u | tojson(ensure_ascii=true), [1, {'a': 2}] | tojson(separators=(',', ':')), [1, 2] | tojson(indent=0), [1] | tojson(indent='--')
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
missing | tojson
users | map(attribute='name') | tojson
namespace(a=1) | tojson
'nan' | float | tojson, 'inf' | float | tojson
1 is odd, 2 is even, 6 is divisibleby 3, 6 is divisibleby(4), 1 is defined, none is none, none is not none, true is boolean, 1 is boolean
1 is integer, 1.0 is integer, true is integer, 1.0 is float, 1 is number, true is number, 'x' is string, 1 is string, {} is mapping, [] is mapping
[] is sequence, 'x' is sequence, {} is sequence, 1 is sequence, range(1) is sequence, (l | map('string')) is sequence, missing is sequence
[] is iterable, 'x' is iterable, 1 is iterable, none is iterable, (l | map('string')) is iterable, missing is iterable
1 is sameas 1, true is sameas true, 1 is sameas true, none is sameas none, 'abc' is lower, 'ABC' is upper, 'a1' is lower, '1' is lower
1 is eq 1, 1 is equalto 2, 1 is ne 2, 2 is gt 1, 2 is ge 2, 1 is lt 2, 1 is le 1, 1 is in [1], 5 is in [1], 'x' is not in 'abc', 1 is greaterthan 0, 1 is lessthan 0
true is true, 1 is true, false is false, 0 is false, range is callable, 1 is callable, 'upper' is filter, 'nope' is filter, 'odd' is test
'x' is odd
1 is nope
1 | nope
1 if true else (2 | nope)
not 1 is none, not (1 is none), 1 is not none and 2 is not none
1 is divisibleby
[1, 2, 3,], (1,), (), {'a': 1,}
l[0]|string ~ 'x', -1|abs, -a|abs, a|string|length
loop
cycler('a', 'b').next()
cycler()
joiner()(), joiner('|')
raise_exception('stop here')
raise_exception(d)
strftime_now('plain')
'abc'.nope
'abc'[1:][0], 'abc'.upper()[0], [[1]][0][0], {'f': 1}.f
range(3)|last, range(0)|first, range(3)|sum, range(3)|join(',')
words|map('length')|list, words|map('first')|join, words|map('list')|list
[3, 1] | sort | first, users | map(attribute='name') | sort | join(' ')
a.b.c
u | upper, u | lower, u | title, u | capitalize, u | wordcount, u | truncate(5, true)
'a' in words, 'Apple' in words, 'a' in d, 'zz' in d.keys(), ('b', 1) in d.items(), 1 in d.values()
s[0] == 'H' and s[-1] == 'd', s.split(', ')[1][:3]
(a, b), (a), ((a, b), x)
[a, b][1 - 1], d['a'][0], d['a'][-1]['k'], n[1][1][1]
{'x': l}['x'][0], {'a': {'b': {'c': 1}}}.a.b.c
(1, 2, 3) == (1, 2, 3), [1] == (1,), {'a': 1} == {'a': 1.0}, 'a' != 'b'
1 == 1 == 1, 1 != 2 != 1
10 // 3 * 3 + 10 % 3, 2 * 3 % 4, 1 - -1, 1 - - 1, +1, -+-1
7.0 // 2, 7.5 % 2.5, 1e308 * 10, -1e308 * 10, 5 % 3.0
true and false or true, not true or true, 1 or 1/0
*[1]
1 +
a b
a.
a[
{1}
(1
'abc
a | 
a is
a $ b
1..2
"""

STATEMENTS = [
    "{% for i in l %}{{ i }}{% endfor %}",
    "{% for i in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }} {% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}",
    "{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}{% for i in [1] %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% for i in 5 %}{% endfor %}",
    "{% for i in none %}{% endfor %}",
    "{% for i in missing %}x{% else %}e{% endfor %}",
    "{% for i in range(6) if i is even %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}",
    "{% for i in range(6) if i > 10 %}{{ i }}{% else %}none{% endfor %}",
    "{% for u in users if u.on %}{{ u.name }}{{ loop.last }}{% endfor %}",
    "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(3) %}{% continue %}{% else %}else{% endfor %}",
    "{% for i in range(3) %}{% break %}{% else %}else{% endfor %}",
    "{% break %}",
    "{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for i in l recursive %}{{ i }}{% endfor %}",
    "{% for n in tree recursive %}{{ n.v }}@{{ loop.depth }}{{ loop.depth0 }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for n in tree %}{{ loop(n.c) }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for i in l %}{% set outer = loop %}{% for j in l %}{{ outer.index }}{% endfor %}{% endfor %}",
    "{% for i in l %}{% set loop = 1 %}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = x + 1 %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}", "{% set a, b = 1 %}", "{% set a, b = [1, 2, 3] %}",
    "{% set y %}hello {{ a }}{% endset %}{{ y | upper }}", "{% set y | upper %}hi{% endset %}{{ y }}", "{% set y | replace('h', 'j') | upper %}hi{% endset %}{{ y }}",
    "{% if a %}1{% elif b %}2{% else %}3{% endif %}", "{% if missing %}1{% elif none %}2{% else %}3{% endif %}", "{% if a == 3 and not f %}yes{% endif %}",
    "{% if false %}{% set z = 1 %}{% endif %}{{ z }}", "{% if true %}{% set z = 1 %}{% endif %}{{ z }}",
    "{% if false %}{% set s = 1 %}{% endif %}{{ s }}", "{{ s }}{% set s = 1 %}{{ s }}", "{% for i in [1] %}{{ s }}{% endfor %}{% set s = 5 %}",
    "{% for i in [1] %}{{ z }}{% endfor %}{% set z = 5 %}", "{% macro m() %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m() }}{% set z = 2 %}{{ m() }}",
    "{% for i in l %}{% if loop.first %}{% set q = i %}{% endif %}{{ q }}{% endfor %}", "{% for i in l %}{% if i == 1 %}{% set s = i %}{% endif %}{{ s }} {% endfor %}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% for i in [1] %}{% set x = 3 %}{% endfor %}{% endif %}{{ x }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=5) }} {{ m(b=1, a=2) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ a }}{% endcall %}", "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(x, y) m() %}{{ x }}+{{ y }}{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m() %}{% if caller %}c{% else %}n{% endif %}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}",
    "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}",
    "{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) }}{{ y }}", "{% macro m() %}{% for i in l %}{{ i }}{{ loop.last }}{% endfor %}{% endmacro %}{{ m() }}",
    "{{ m }}{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% set f = namespace() %}{% macro m() %}1{% endmacro %}{% set f.m = m %}{{ f.m() }}",
    "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro a() %}{% macro b() %}in{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}{{ b }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% filter length %}abc{% endfilter %}",
    "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ y }}", "{% with a = 9 %}{% with b = a %}{{ b }}{% endwith %}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}",
    "{% generation %}text {{ a }}{% endgeneration %}", "{% for i in l %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}",
    "{% print 1, 'a' %}", "{% raw %}{{ x }}{% if %}{% endraw %}", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n x\n{% endraw %}\ny",
    "a{# comment #}b", "a\n{# comment #}\nb", "a {#- c -#} b", "{# unclosed", "{% raw %} unclosed", "{% if x %}", "{% endif %}", "{% for %}", "{% nope %}", "{% if a %}{% endfor %}",
    "{% include 'x' %}", "line1\n{{ missing.x }}", "line1\n{% if a %}\n{{ none + 1 }}\n{% endif %}", "a\n{% for i in l %}\n  {{ i }}\n{% endfor %}\nb\n",
    "  {% if true %}\n  x\n  {% endif %}\ny", "  {%+ if true %}\n  x\n  {%+ endif %}\ny", "a {%- if true -%} b {%- endif -%} c", "a\n  {{- 1 -}}  \n b", "{{ 1 }}\n{{ 2 }}\n", "x\n\n", "\n", "",
    "a {{+ 1 }} b", "{{-1}}", "{{- 1 }}", "  {% set q = 1 %}  {{ q }}", "{% set q = 1 %}\n\n{{ q }}", "{% if true +%}\nx{% endif %}", "\t{% if true %}\tx{% endif %}", "x{% if true %}\ny{% endif %}\n",
    "a\r\nb\rc\n{{ 'x\r\ny' }}", "{{ 'multi\nline' }}", "{{\n a\n +\n missing.x }}", "{% set x = [\n1,\n2,\nmissing.y\n] %}", "{{ {'a': {'b': 1}} }}", "{{ {'a': 1}['a'] }}}", "{{ '}}' }}", "{{ '%}' }}{% if '%}' == '%}' %}y{% endif %}",
    "{% for m in users %}{%- if loop.first -%}F{%- endif -%}{{ m.name }}{%- if not loop.last -%}, {%- endif -%}{% endfor %}",
    "{%- for m in users -%}\n{{ m['name'] + ':' + (m['age'] | string) }}\n{%- endfor -%}",
    "{% set c = cycler('odd', 'even') %}{% for i in l %}{{ c.next() }}{{ c.current }}{% endfor %}{{ c.reset() }}{{ c.next() }}",
    "{% set j = joiner(' | ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}", "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{% set g = (l | select('odd')) %}{% for i in g %}{{ i }}{{ loop.length }}{% endfor %}", "{% for i in l | map('string') %}{{ i }}{{ loop.last }}{{ loop.revindex }}{% endfor %}",
    "{% for i in range(3) %}{% for i in range(2) %}{{ i }}{% endfor %}{{ i }}{% endfor %}{{ i }}", "{% for x in l if x > loopvar %}{{ x }}{% endfor %}", "{% for i in [1, 2] %}{% set z %}{{ i }}{% if i == 1 %}{% continue %}{% endif %}{% endset %}[{{ z }}]{% endfor %}",
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}", "{{ 'a' if t else 'b' if f else 'c' }}", "{% set x = 'a' if f %}{{ x is defined }}",
    "{% set m = {'a': 1} %}{% set m = dict(m, b=2) %}{{ m }}", "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}", "a\nb\n{{ raise_exception('x') }}", "{% if a is nope %}{% endif %}", "{% if f %}{{ a | nope }}{% endif %}x", "{% if t %}{% for i in l %}{{ i | nope }}{% endfor %}{% endif %}",
    "{% macro m() %}\n\n{{ none.x.y }}{% endmacro %}\n{{ m() }}", "{% set caller = 5 %}{% macro m() %}{{ caller }}{% endmacro %}{{ m() }}", "{% macro m(caller=3) %}{{ caller }}{% endmacro %}{{ m() }}{{ m(4) }}{% call m() %}x{% endcall %}",
    "{{ [1,2,3]|first if l else 'z' }}{{ l|first|string + 'x' }}", "{% for a in [1] %}{% for b in [2] %}{% set a = 5 %}{{ a }}{% endfor %}{{ a }}{% endfor %}", "{% for i in [1,2] %}{% if i == 2 %}{{ v }}{% endif %}{% set v = i %}{% endfor %}",
    "{% with %}{% for i in l %}{% set a = i %}{% endfor %}{{ a }}{% endwith %}", "{% set a = a + 1 %}{{ a }}{% set a = a + 1 %}{{ a }}", "{% set ns = namespace(x=[]) %}{% for i in l %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}{{ ns }}", "{{ loop }}{% for i in l %}{{ loop }}{% endfor %}",
]


def main():
    cases = []
    for line in EXPRESSIONS.strip().split("\n"):
        cases.append(golden("{{ " + line + " }}", CONTEXT))
        if ", " in line and "error" not in (cases[-1] or {}):
            cases.append(golden("{% set v = [" + line + "] %}{% for i in v %}{{ i }}\n{% endfor %}", CONTEXT))
    cases += [golden(source, CONTEXT) for source in STATEMENTS]
    cases = [dict(case, variables={k: v for k, v in CONTEXT.items() if k in case["template"]}) for case in cases if case]
    lines = [dump(case) for case in cases]
    for path in sorted((HERE / "data" / "templates").glob("*.jinja")):
        source = path.read_text()
        lines.append(dump({"define": path.name, "template": source}))
        for variables in conversations():
            case = golden(source, variables)
            if case is None:
                continue
            del case["template"]
            lines.append(dump({"use": path.name, **case}))
    out = HERE / "data" / "jinja_goldens.jsonl"
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {len(lines)} lines")


if __name__ == "__main__":
    main()
