"""Renders a template as transformers does and writes it down as a golden."""
import json
import re
import traceback

import jinja2
from transformers.utils.chat_template_utils import _cached_compile_jinja_template


def template_line(error):
    """The template's line in an error: jinja2's own, or of the innermost frame of the template."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return error.lineno
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<template>"]
    return lines[-1] if lines else None


def golden(template, variables, check_line=True, exact_error=False):
    """{"template", "variables", "rendered"} or {..., "error", "line"}; None when the outcome cannot be compared."""
    out = {"template": template, "variables": variables}
    try:
        rendered = _cached_compile_jinja_template(template).render(**variables)
        if re.search(r" at 0x[0-9a-f]{6,}|<bound method ", rendered):
            return None
        rendered.encode()
        out["rendered"] = rendered
    except (UnicodeEncodeError, RecursionError, MemoryError):
        return None
    except NameError:  # jinja2 writes a folded `inf` or `nan` into its Python as a name
        return None
    except SyntaxError as error:  # of the Python that jinja2 made
        out["error"] = str(error)
    except Exception as error:  # whatever a template can raise is the reference
        out["error"] = str(error)
        line = template_line(error)
        if check_line and line is not None:
            out["line"] = line
    if exact_error and "error" in out:
        out["exact_error"] = True
    return out


def dump(case):
    return json.dumps(case, ensure_ascii=False)
