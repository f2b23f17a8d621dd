from rsstudy.cli import main

main()
