#!/usr/bin/env bash
# Whether sd-server answers; bash asks, because the image has no curl.
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/1234
printf 'GET /sdcpp/v1/capabilities HTTP/1.0\r\n\r\n' >&3
read -r answer <&3
[[ $answer == *" 200 "* ]]
