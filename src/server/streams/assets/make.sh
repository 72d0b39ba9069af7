#!/usr/bin/env bash
# Makes the test card's clips: 8 s of 640x360 at 25 frames a second with a keyframe each second, as VP8 and as
# H.264 (constrained baseline, what every browser decodes), and 8 s of sound. Needs ffmpeg with libvpx, libx264
# and libopus. The three together stay under 600 KiB.
#
# A ball goes round once and a hand once, so that the last picture runs into the first; the sound is a soft tone
# with a beep each second, in step with the keyframes.
set -euo pipefail
cd "$(dirname "$0")"

# The ball's circle and the bar's way come back to their beginnings after 8 s.
picture="smptehdbars=size=640x360:rate=25:duration=8[bars];
color=white:size=36x36:rate=25:duration=8,format=yuva420p,
geq=lum=235:cb=128:cr=128:a='if(lte(hypot(X-17.5\,Y-17.5)\,17)\,255\,0)'[ball];
color=white:size=8x60:rate=25:duration=8[bar];
[bars][ball]overlay=x='302+200*sin(2*PI*t/8)':y='140-110*cos(2*PI*t/8)'[with];
[with][bar]overlay=x='mod(80*t\,640)':y=300"
sound="0.06*sin(2*PI*440*t)+0.25*sin(2*PI*1000*t)*lt(mod(t\,1)\,0.06)"

common=(-hide_banner -loglevel error -y)
ffmpeg "${common[@]}" -filter_complex "$picture" -an -t 8 -c:v libvpx -b:v 190k -maxrate 260k -bufsize 200k \
    -g 25 -keyint_min 25 -auto-alt-ref 0 -lag-in-frames 0 -deadline best -cpu-used 0 -threads 1 \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact testcard.ivf
ffmpeg "${common[@]}" -filter_complex "$picture" -an -t 8 -c:v libx264 -profile:v baseline -level 3.1 -preset veryslow \
    -pix_fmt yuv420p -bf 0 -g 25 -keyint_min 25 -sc_threshold 0 -crf 24 -threads 1 \
    -x264-params "slices=1:repeat-headers=1:no-info=1" \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -f h264 testcard.h264
ffmpeg "${common[@]}" -f lavfi -i "aevalsrc=$sound:s=48000:d=8" -vn -c:a libopus -b:a 32k -ac 1 -frame_duration 20 \
    -map_metadata -1 -fflags +bitexact testcard.ogg
ls -l testcard.*
