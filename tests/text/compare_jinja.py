"""Random templates rendered by jinja2 and by this project: python tests/text/compare_jinja.py PATH/TO/test_text [CASES [SEED]]"""
import os
import random
import subprocess
import sys
import tempfile

from jinja_reference import dump, golden

CONTEXT = {
    "a": 3, "b": -7, "x": 2.5, "s": "Hello, World", "u": "Grüße, 世界 🙂\n", "none_v": None, "t": True, "f": False, "e": "",
    "l": [3, 1, 2], "w": ["banana", "Apple", "cherry pie"], "d": {"b": 1, "a": [1, {"k": "v"}], "c": "x"}, "m": [[1, "p"], [2, "q"]],
    "us": [{"name": "Zoe", "age": 31, "on": True}, {"name": "adam", "age": 25, "on": False}, {"name": "Bob", "age": 31}],
}
NAMES = list(CONTEXT) + ["y", "z", "q", "undefined_v"]
STRINGS = ["''", "'a'", "'ab c'", "' x '", "','", "'name'", "'A-b'", "'世'", "'l\\n'", "'%s'", "'on'", "'12'", "'1.5'", "'it\\'s'", "'o'"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "list", "first", "last", "string", "int", "float", "abs", "sort", "reverse",
           "unique|list", "join", "tojson", "escape", "e", "sum", "min", "max", "wordcount", "count", "items|list", "dictsort", "round",
           "default('D')", "d('D', true)", "join(', ')", "replace('a', 'o')", "replace('l', '', 1)", "indent(2)", "indent(1, true)", "truncate(5)",
           "truncate(6, true, '~', 0)", "center(9)", "int(7)", "int(0, 16)", "float(1.5)", "round(1)", "round(1, 'floor')", "sort(reverse=true)",
           "sort(attribute='age')", "map('string')|list", "map(attribute='name')|list", "map('upper')|join('|')", "select('odd')|list", "reject('none')|list",
           "select|list", "selectattr('on')|list", "rejectattr('on')|list", "selectattr('age', 'gt', 26)|map(attribute='name')|join", "batch(2)|list",
           "slice(2)|list", "batch(2, 'f')|list", "groupby('age')|list", "tojson(indent=2)", "tojson(sort_keys=true)", "tojson(ensure_ascii=true)",
           "format(1)", "attr('upper')", "urlencode", "xmlattr", "striptags", "safe", "forceescape", "filesizeformat", "sum(attribute='age')",
           "min(attribute='age')", "join('-', attribute='name')", "trim('H d')", "map('length')|list", "map('first')|list", "wordcount", "items|list|length"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "odd", "even", "true", "false",
         "lower", "upper", "callable", "divisibleby 3", "sameas none", "eq 3", "ne 'a'", "gt 1", "lt 2.5", "ge 3", "le 'b'", "in [1, 2, 3]", "in 'abc'", "escaped",
         "equalto 31", "not none", "not string", "not defined"]
METHODS = ["upper()", "lower()", "strip()", "strip('ao ')", "lstrip()", "rstrip('d')", "split()", "split(',')", "split('a', 1)", "rsplit(' ', 1)", "splitlines()",
           "title()", "capitalize()", "find('o')", "rfind('l')", "count('l')", "replace('l', 'L')", "replace('', '-', 3)", "startswith('H')", "endswith(('d', 'x'))",
           "join(['p', 'q'])", "join(w)", "isdigit()", "isalpha()", "isupper()", "isspace()", "zfill(6)", "center(8, '.')", "ljust(7)", "rjust(7, '0')", "partition('a')",
           "format(1, 2)", "items()|list", "keys()|list", "values()|list", "get('a')", "get('zz', 4)", "index(1)", "count(1)", "name", "age", "b", "missing", "append(1)",
           "removeprefix('He')", "swapcase()", "casefold()", "expandtabs()", "istitle()", "index('l')", "isalnum()"]
GLOBALS = ["range(4)", "range(2, 9, 3)", "dict(k=1)", "namespace(v=1).v", "range(5, 0, -1)", "[]", "{}", "()", "(1,)", "{'k': 'v', 2: 3}", "[1, [2, 'x']]", "(1, 'a')"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def expr(self, depth):
        r = self.r
        if depth <= 0:
            return r.choice([r.choice(NAMES), r.choice(NAMES), r.choice(STRINGS), str(r.randint(-3, 40)), r.choice(["2.0", "0.1", "1e3", "none", "true", "false"]),
                             r.choice(GLOBALS)])
        sub = lambda: self.expr(depth - 1 - r.randint(0, 1))
        kind = r.randint(0, 17)
        if kind <= 1:
            return f"({sub()} {r.choice(['+', '-', '*', '/', '//', '%', '~', '~', '+'])} {sub()})"
        if kind == 2:
            return f"({sub()} {r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {sub()})"
        if kind == 3:
            return f"({sub()} {r.choice(['and', 'or'])} {sub()})"
        if kind == 4:
            return f"({sub()} if {sub()}" + (f" else {sub()})" if r.random() < 0.8 else ")")
        if kind == 5:
            return f"(not {sub()})"
        if kind <= 9:
            return f"({sub()}|{r.choice(FILTERS)})"
        if kind == 10:
            return f"({sub()} is {r.choice(TESTS)})"
        if kind <= 12:
            return f"{sub()}.{r.choice(METHODS)}"
        if kind == 13:
            return f"{sub()}[{r.choice(['0', '-1', '1', sub(), chr(39) + 'a' + chr(39), chr(39) + 'name' + chr(39)])}]"
        if kind == 14:
            bound = lambda: r.choice(["", "", "1", "-1", "2", "-2", "9"])
            # Of a name: jinja2 folds a constant that cannot be sliced to an undefined value, where a variable is an error.
            return f"{r.choice(NAMES)}[{bound()}:{bound()}" + (f":{r.choice(['', '1', '-1', '2', '-2'])}]" if r.random() < 0.5 else "]")
        if kind == 15:
            return "[" + ", ".join(sub() for _ in range(r.randint(0, 3))) + "]"
        if kind == 16:
            return "{" + ", ".join(f"{r.choice(STRINGS)}: {sub()}" for _ in range(r.randint(0, 2))) + "}"
        return f"{r.choice(['-', '+', ''])}{r.choice(NAMES)}"

    def tag(self, text):
        r = self.r
        return "{%" + r.choice(["", "", "-", "-", "+"]) + " " + text + " " + r.choice(["", "", "-", "-"]) + "%}"

    def data(self):
        return "".join(self.r.choice(["x", " ", "\n", "  ", "\n\n", "é", "\t", ".", "{", "} "]) for _ in range(self.r.randint(0, 4)))

    def body(self, depth):
        return "".join(self.data() + self.statement(depth) for _ in range(self.r.randint(1, 3))) + self.data()

    def target(self):
        return self.r.choice(["y", "z", "q", "a", "s", "l"])

    def statement(self, depth):
        r = self.r
        kind = r.randint(0, 13) if depth > 0 else r.randint(0, 4)
        show = lambda: "{{" + r.choice(["", "", "-"]) + " " + self.expr(r.randint(0, 3)) + " " + r.choice(["", "", "-"]) + "}}"
        if kind <= 2:
            return show()
        if kind == 3:
            return self.tag(f"set {self.target()} = {self.expr(2)}")
        if kind == 4:
            return r.choice(["{# c #}", "{#- c\n-#}", "{{ y }}", "{{ z }}", "{{ loop.index }}", "{{ loop.last }}", "{{ ns.v }}"])
        if kind <= 6:
            out = self.tag(f"if {self.expr(2)}") + self.body(depth - 1)
            if r.random() < 0.3:
                out += self.tag(f"elif {self.expr(1)}") + self.body(depth - 1)
            if r.random() < 0.5:
                out += self.tag("else") + self.body(depth - 1)
            return out + self.tag("endif")
        if kind <= 9:
            source = r.choice(["l", "w", "us", "d", "range(4)", "s", "m", self.expr(1)])
            test = f" if {self.expr(1)}" if r.random() < 0.3 else ""
            targets = "y, z" if source == "m" or r.random() < 0.1 else self.target()
            extra = r.choice(["", "", "{{ loop.index }}{{ loop.previtem }}{{ loop.revindex0 }}", "{{ loop.first }}{{ loop.nextitem }}", "{{ loop.cycle(1, 2) }}"])
            stop = self.tag(f"if {self.expr(1)}") + self.tag(r.choice(["break", "continue"])) + self.tag("endif") if r.random() < 0.2 else ""
            otherwise = self.tag("else") + self.body(depth - 1) if r.random() < 0.3 else ""
            return self.tag(f"for {targets} in {source}{test}") + extra + stop + self.body(depth - 1) + otherwise + self.tag("endfor")
        if kind == 10:
            name = r.choice(["f1", "f2"])
            return (self.tag(f"macro {name}(y, z={self.expr(1)})") + self.body(depth - 1) + self.tag("endmacro") +
                    "{{ " + f"{name}({self.expr(1)}" + r.choice([")", f", {self.expr(1)})", ", z=1)"]) + " }}")
        if kind == 11:
            return self.tag(f"set {self.target()}" + r.choice(["", " | upper", " | trim"])) + self.body(depth - 1) + self.tag("endset")
        if kind == 12:
            return self.tag(f"with {self.target()} = {self.expr(2)}") + self.body(depth - 1) + self.tag("endwith")
        return r.choice([self.tag("filter upper") + self.body(depth - 1) + self.tag("endfilter"),
                         self.tag("set ns = namespace(v=1)") + self.tag("for y in l") + self.tag("set ns.v = ns.v ~ y") + self.tag("endfor") + "{{ ns.v }}",
                         self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration"),
                         self.tag("raw") + "{{ x }}" + self.tag("endraw")])


def main():
    binary, cases, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000, int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    errors = 0
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
        for i in range(cases):
            maker = Maker(seed * 1000003 + i)
            source = "{{ " + maker.expr(4 if i % 3 == 1 else 2) + " }}" if i % 3 else maker.body(i // 3 % 3 + 1)
            # jinja2 gives no line to the values of `with`.
            case = golden(source, CONTEXT, check_line="with" not in source)
            if case is None:
                continue
            errors += "error" in case
            file.write(dump(case) + "\n")
    print(f"seed {seed}: {cases} cases, {errors} of them errors", flush=True)
    done = subprocess.run([binary, "--gtest_filter=JinjaGoldens.*", "--gtest_brief=1"], env={**os.environ, "FATHOM_JINJA_GOLDENS": file.name})
    os.unlink(file.name)
    print(f"{'FAIL' if done.returncode else 'ok  '} {cases} random templates beside jinja2, seed {seed}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
