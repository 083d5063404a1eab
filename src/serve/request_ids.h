// Names of requests: ours, the client's x-request-id, and W3C trace context.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

// 32 random hexadecimal digits.
std::string NewRequestId();
// Whether a client's id may be repeated in headers and logs: 1 to 128 of [A-Za-z0-9._:-].
bool IsRequestId(std::string_view id);
// The trace id of "00-<32 hex>-<16 hex>-<2 hex>" (W3C Trace Context); empty where it is not one.
std::string ParseTraceParent(std::string_view header);
// The header of our part of that trace, with a span id of its own.
std::string TraceParent(std::string_view trace_id);

}  // namespace fathom
