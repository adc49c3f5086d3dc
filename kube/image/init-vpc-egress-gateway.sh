#!/bin/sh
exec vegd init "$@"
