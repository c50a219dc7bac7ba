module github.com/pgbarrier/pgbarrier/devpg

go 1.25.0
