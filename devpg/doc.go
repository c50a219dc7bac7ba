package devpg
