from tfopt.cli.main import run

run()
