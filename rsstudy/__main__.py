from rsstudy.experiments.cli import main

main()
