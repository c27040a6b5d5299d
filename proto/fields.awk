# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Writes proto/fields.h from asock.proto: of each field of each message its number, and the largest value
# that its type can hold, for the code that goes without protobuf-c (codec_plain.c).

BEGIN {
    max["uint32"] = "UINT32_MAX"
    max["uint64"] = "UINT64_MAX"
    max["bool"] = "1"
    print "/* Made from asock.proto by fields.awk. */"
    print "#ifndef ASOCK_PROTO_FIELDS_H"
    print "#define ASOCK_PROTO_FIELDS_H"
    print ""
    print "#include <stdint.h>"
}

/^enum / {
    max[$2] = "INT32_MAX" # a negative one has ten bytes: not what anybody sends
}

/^message / {
    message = toupper($2)
    print ""
}

# "  uint64 total_len = 1;", the same within a oneof, and with "repeated" in front
{
    sub(/^ *repeated /, "")
}

message != "" && $3 == "=" && $4 ~ /^[0-9]+;/ {
    name = "FIELD_" message "_" toupper($2)
    number[name] = $4 + 0
    type[name] = $1
    order[++count] = name
}

/^}/ {
    message = ""
}

END {
    for (i = 1; i <= count; i++) {
        name = order[i]
        printf "#define %s %du\n", name, number[name]
        if (type[name] in max)
            printf "#define %s_MAX %s\n", name, max[type[name]]
    }
    print ""
    print "#endif"
}
